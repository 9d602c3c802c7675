"""Simulated webhooks, healthy and dead ones, and what the exporter shows of them; used by alert_benchmark.py."""

import bisect
import math

START = 1_767_225_600  # the blocks begin at this time
STEP = 60  # seconds between scrapes, and between evaluations
DAY, HOUR = 86_400, 3_600
YEAR = 365.25 * DAY
RATES = {"1 a day": 1 / DAY, "1 an hour": 1 / HOUR, "1 a minute": 1 / 60, "1 a second": 1.0}
HEALTHS = [0.995, 0.999, 0.9999]
# TalkOver does not say when it retries. This is what the usual package of applications like it does: 10 to the power of
# the attempt (spatie/laravel-webhook-server, ExponentialBackoffStrategy).
BACKOFF = [10, 100, 1000]
DEPLOYMENT = 300
BUSY = 1 / 60  # deliveries a second
WARM_UP = 6.5 * HOUR
# name: share of deliveries lost, seconds that an attempt takes, retries, hours watched per rate
DEATHS = {
    "endpoint gone": (1.0, 0.2, 3),
    "certificate expired": (1.0, 0.05, 3),
    "too slow: every attempt times out": (1.0, 30.0, 3),
    "endpoint gone, no retries": (1.0, 0.2, 0),
    "half of the deliveries lost": (0.5, 0.2, 3),
    "a tenth of the deliveries lost": (0.1, 0.2, 3),
}
WATCHED = {"1 a day": 4 * DAY, "1 an hour": 12 * HOUR, "1 a minute": 5 * HOUR, "1 a second": 3 * HOUR}


def shape(at):
    """How busy a moment is: a quarter by night, and half of an hour's deliveries in its first six minutes."""
    night = 0.25 if at % DAY >= 22 * HOUR or at % DAY < 6 * HOUR else 1.375
    return night * (5 if at % HOUR < 360 else 5 / 9)


def arrivals(dice, rate, begin, end):
    """The times of deliveries, by thinning."""
    peak, at = rate * 1.375 * 5, begin
    while (at := at + dice.expovariate(peak)) < end:
        if dice.random() * 1.375 * 5 < shape(at):
            yield at


def attempts(at, fate, retries, took):
    """(created, ended, status) of a delivery's attempts; `fate` says of a moment whether an attempt fails then."""
    for number in range(retries + 1):
        failed = fate(at, number)
        status = "success" if not failed else "retrying" if number < retries else "failed"
        yield at, at + (took if failed else 0.2), status
        if status != "retrying":
            return
        at += took + BACKOFF[number]


class Webhook:
    """The attempts of one webhook over a stretch of time, and what the exporter shows of them."""

    def __init__(self, name, dice, rate):
        self.name, self.dice, self.rate = name, dice, rate
        self.deliveries = []  # lists of attempts
        self.away = []  # (begin, end) of times without the exporter
        self.first_failure = None

    def add(self, begin, end, fate, retries=3, took=0.2):
        """`fate(dice)` makes the fate of one delivery."""
        for at in arrivals(self.dice, self.rate, begin, end):
            self.deliveries.append(list(attempts(at, fate(), retries, took)))

    def lines(self, begin, end):
        """What scrapes find, in OpenMetrics."""
        events = sorted(
            (ended, created, status, index, number)
            for index, one in enumerate(self.deliveries)
            for number, (created, ended, status) in enumerate(one)
        )
        poll = 15 if self.rate >= 1 / 60 else 300
        phase, shown, at = self.dice.random() * poll, 0, begin
        last, waiting, totals, lost, since = {}, set(), {"success": 1000, "failed": 10}, 0, None
        late = begin - 1  # until then it is catching up
        while at < end:
            absent = next((stop for start, stop in self.away if start <= at < stop), None)
            if absent:
                at, late = at + STEP, absent + 130 if absent - at >= 600 else late
                continue
            polled = at - (at - phase) % poll
            while shown < len(events) and events[shown][0] <= polled:
                _, created, status, index, _ = events[shown]
                shown += 1
                last[status] = max(created, last.get(status, 0))
                waiting.discard(index)
                if status == "retrying":
                    waiting.add(index)
                elif status == "failed":
                    totals["failed"], lost, since = totals["failed"] + 1, lost + 1, since or created
                else:
                    totals["success"], lost, since = totals["success"] + 1, 0, None
            yield from self.sample(at, last, waiting, totals, lost, since, at < late)
            at += STEP

    def sample(self, at, last, waiting, totals, lost, since, late):
        common = f'environment="test",webhook_id="{self.name}"'
        rows = [
            ("talkover_webhook_info", ',webhook_name="w",owner_name="o"', 1),
            ("talkover_up", "", 1),
            ("talkover_exporter_catching_up", "", int(late)),
            ("talkover_webhook_consecutive_lost_deliveries", "", lost),
            ("talkover_webhook_deliveries_open", ',status="retrying"', len(waiting)),
            *(("talkover_webhook_deliveries_total", f',result="{key}"', value) for key, value in totals.items()),
            *(
                ("talkover_webhook_last_attempt_timestamp_seconds", f',status="{key}"', START + value)
                for key, value in last.items()
            ),
        ]
        if since is not None:
            rows.append(("talkover_webhook_failing_since_timestamp_seconds", "", START + since))
        for metric, labels, value in rows:
            yield f"{metric}{{{common}{labels}}} {value} {START + int(at)}\n"


def healthy(dice, loss):
    """Fates in which `loss` of deliveries are lost, and twice as many succeed with the second attempt."""

    def fate():
        draw = dice.random()
        return lambda _, number: draw < loss or (draw < 3 * loss and number == 0)

    return fate


def years_of(dice, rate, loss, retries, years):
    """Stretches of a healthy webhook's years, a week each, that could page; every one is a list of deliveries.

    No rule here pages without a failure. The bundled ones need five lost deliveries, and more of an hour or of six than
    may be lost, or three failed attempts in a row over at least five minutes. Sloth's and Pyrra's need one lost.
    """
    for _ in range(int(years * YEAR / (7 * DAY)) or 1):
        deployed = dice.random() * 7 * DAY
        normal = healthy(dice, loss)

        def fate(deployed=deployed, normal=normal):
            own = normal()
            return lambda moment, number: deployed <= moment < deployed + DEPLOYMENT or own(moment, number)

        # Of busy webhooks only the hours around the deployment: for the rest there is `chance`.
        span = (deployed - 2 * HOUR, deployed + 2 * HOUR) if rate >= BUSY else (0, 7 * DAY)
        yield [list(attempts(at, fate(), retries, 0.2)) for at in arrivals(dice, rate, *span)]


def chance(rate, loss):
    """How often in 100 years independent losses alone exceed Wilson's bound in a window."""
    total = 0.0
    for hours, share in ((1, 0.144), (6, 0.06)):
        mean = rate * hours * HOUR
        spread = 8 * math.sqrt(mean)
        for count in range(max(5, int(mean - spread)), int(mean + spread + 12)):
            bad = max(5, int(share * count))
            while bad <= count and wilson(bad, count) <= share:
                bad += 1
            others = math.exp((count - 1) * math.log(mean) - mean - math.lgamma(count))
            total += others * sum(binomial(count - 1, k, loss) for k in range(bad - 1, min(count, bad + 40)))
    return total * rate * loss * YEAR * 100


def wilson(bad, count, z=3.5):
    return (bad + z * z / 2 - z * math.sqrt(bad * (1 - bad / count) + z * z / 4)) / (count + z * z)


def binomial(count, k, share):
    choose = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
    return math.exp(choose + k * math.log(share) + (count - k) * math.log1p(-share))


def suspects(deliveries):
    """(times at which the bundled rules could page, times at which Sloth's and Pyrra's could)."""
    ends = sorted((one[-1][1], one[-1][2] == "failed") for one in deliveries if one[-1][2] != "retrying")
    ended, lost = [at for at, _ in ends], [at for at, failed in ends if failed]
    strict = []
    for count, at in enumerate(lost, 1):
        for window, share in ((HOUR, 0.144), (6 * HOUR, 0.06)):
            bad = count - bisect.bisect_left(lost, at - window)
            all_of_them = bisect.bisect_right(ended, at) - bisect.bisect_left(ended, at - window)
            # Prometheus extrapolates: a little less may be enough.
            if bad >= 4 and bad > 0.8 * share * all_of_them:
                strict.append(at)
    row = []
    for created, _, status in sorted(attempt for one in deliveries for attempt in one):
        row = [] if status == "success" else [*row[:1], *row[-1:], created] if row else [created]
        if len(row) >= 3 and row[-1] - row[0] >= 300:
            strict.append(created)
    return strict, lost


def stretch(name, dice, rate, deliveries, at):
    """The webhook around a moment, which becomes the end of the warm-up."""
    webhook = Webhook(name, dice, rate)
    move = WARM_UP - at
    webhook.deliveries = [
        [(created + move, ended + move, status) for created, ended, status in one]
        for one in deliveries
        if -HOUR <= one[0][0] + move < WARM_UP + 2 * HOUR
    ]
    return webhook


def merged(times):
    """One moment of each group that fits into a stretch."""
    kept = []
    for at in sorted(times):
        if not kept or at - kept[-1] > 1.5 * HOUR:
            kept.append(at)
    return kept


def healthy_cells(dice, budget, cap, webhooks):
    """Simulates; returns per cell what is needed to count false pages."""
    kinds = [(traffic, health, 3) for traffic in RATES for health in HEALTHS] + [(one, 0.995, 0) for one in RATES]
    return [healthy_cell(dice, traffic, health, retries, budget, cap, webhooks) for traffic, health, retries in kinds]


def healthy_cell(dice, traffic, health, retries, budget, cap, webhooks):
    rate = RATES[traffic]
    # Weeks of a busy webhook are simulated for four hours only.
    years = min(100.0, budget / (rate * YEAR) * (42 if rate >= BUSY else 1))
    cell = {"traffic": traffic, "health": health, "retries": retries, "years": 0.0}
    cell |= {"strict": [], "loose": [], "seen": {"strict": 0, "loose": 0}}
    for deliveries in years_of(dice, rate, 1 - health, retries, years):
        cell["years"] += 7 * DAY / YEAR
        for kind, times in zip(("strict", "loose"), suspects(deliveries), strict=True):
            for moment in merged(times):
                cell["seen"][kind] += 1
                if len(cell[kind]) == cap:
                    continue
                webhook = stretch(f"healthy-{len(webhooks)}", dice, rate, deliveries, moment)
                # Some of them lose the exporter just before: a restart, or an outage that is caught up.
                if dice.random() < 0.2:
                    webhook.away = [(WARM_UP - 2400, WARM_UP - dice.choice([600, 2340]))]
                webhooks.append((webhook, WARM_UP + 2 * HOUR))
                cell[kind].append(webhook.name)
    return cell


def dead_runs(dice, repeats, webhooks):
    runs = []
    for traffic, rate in RATES.items():
        for death, (loss, took, retries) in DEATHS.items():
            for _ in range(repeats if rate < 1 else max(1, repeats // 2)):
                webhook = Webhook(f"dead-{len(webhooks)}", dice, rate)
                webhook.add(0, WARM_UP, healthy(dice, 0.0005), retries)
                before = len(webhook.deliveries)

                def fate(loss=loss):
                    draw = dice.random()
                    return lambda *_: draw < loss

                webhook.add(WARM_UP, WARM_UP + WATCHED[traffic], fate, retries, took)
                failed = [one for one in webhook.deliveries[before:] if one[0][2] != "success"]
                if failed:
                    webhook.first_failure = failed[0][0][0]
                    webhooks.append((webhook, WARM_UP + WATCHED[traffic]))
                    runs.append({"traffic": traffic, "death": death, "webhook": webhook, "failed": failed})
    return runs
