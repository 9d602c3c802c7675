#!/usr/bin/env python3
"""Judges what Prometheus servers have stored of an exporter, scrape by scrape. On a fault, exits 1 with the numbers.

The samples are raw ones: an instant query of a range selector returns them as they were scraped, and all samples of one
scrape carry the same timestamp. A series that is absent from a scrape counts as 0 in its sums.
"""

import argparse
import json
from collections import defaultdict
from itertools import pairwise

from servers import fail, get, query

ATTEMPTS = "talkover_webhook_delivery_attempts_total"
TOTALS = [ATTEMPTS, "talkover_webhook_deliveries_total", "talkover_webhook_delivery_duration_seconds_count"]
PENDING = 'talkover_webhook_deliveries_open{status="pending"}'
HELD = "talkover_exporter_attempts_held"
CATCHING_UP = "talkover_exporter_catching_up"
LOOK_BACK = "1h"


def entries(outcomes):
    return f'talkover_exporter_log_entries_total{{outcome=~"{outcomes}"}}'


def target_of(labels):
    return labels["instance"], labels["environment"], labels["webhook_id"]


def sums_by_scrape(server, selector):
    """{target: {timestamp: sum over the target's series}}."""
    sums = defaultdict(lambda: defaultdict(float))
    for series in query(server, f"{selector}[{LOOK_BACK}]"):
        of_target = sums[target_of(series["metric"])]
        for time, value in series["values"]:
            of_target[time] += float(value)
    return sums


def check_books(server, at_least):
    """The books balance in every scrape of every target: what was read is counted, open, given up, or held."""
    read = sums_by_scrape(server, entries("new|late"))
    attempts, pending, expired, held = (
        sums_by_scrape(server, selector) for selector in (ATTEMPTS, PENDING, entries("expired"), HELD)
    )
    scrapes = 0
    for target, by_time in read.items():
        for time, count in by_time.items():
            terms = [sums[target].get(time, 0) for sums in (attempts, pending, expired, held)]
            scrapes += 1
            if count != sum(terms):
                fail(
                    f"{server}: the books of {target} do not balance at {time}: {count:.0f} read, "
                    "but {:.0f} counted + {:.0f} pending + {:.0f} expired + {:.0f} held".format(*terms)
                )
    if scrapes < at_least:
        fail(f"{server}: only {scrapes} books were scraped, expected {at_least} or more")
    most_held = max((value for by_time in held.values() for value in by_time.values()), default=0)
    targets = len(read)
    print(f"{server}: the books balance in all of {scrapes} ({targets} targets, at most {most_held:.0f} attempts held)")


def shown_attempts(server, instance):
    """{(webhook, event, status, http_status): attempts} as of the last scrape."""
    names = ("webhook_id", "event", "status", "http_status")
    series = query(server, f'{ATTEMPTS}{{instance="{instance}"}}')
    return {tuple(one["metric"].get(name, "") for name in names): float(one["value"][1]) for one in series}


def true_attempts(simulator):
    """The same of the simulated API's own account."""
    truth = get(f"{simulator}/_simulator/truth")
    return {
        (webhook["webhook_id"], one["event"], one["status"], one["http_status"]): float(one["ever"])
        for webhook in truth["webhooks"]
        for one in webhook["sums"]
        if one["status"] != "pending"
    }


def check_truth(server, instance, simulator):
    """What the last scrape shows is what the simulated API has made."""
    shown, true = shown_attempts(server, instance), true_attempts(simulator)
    if shown != true:
        wrong = sorted(key for key in shown.keys() | true.keys() if shown.get(key) != true.get(key))
        lines = [f"  {key}: shown {shown.get(key)}, true {true.get(key)}" for key in wrong]
        fail(f"{server}: attempts are not the truth:\n" + "\n".join(lines))
    print(f"{server}: {sum(shown.values()):.0f} attempts in {len(shown)} series, as the simulated API has made them")


def labels_of(series):
    """The labels as text, without the name, which functions drop."""
    return json.dumps({**series["metric"], "__name__": ""}, sort_keys=True)


def increases(server, selector):
    """{labels: increase}. Every series that the last scrape shows must have one."""
    now = {labels_of(series) for series in query(server, selector)}
    risen = query(server, f"increase({selector}[{LOOK_BACK}])")
    found = {labels_of(series): float(series["value"][1]) for series in risen}
    if not now or now - found.keys():
        fail(f"{server}: {selector}: {len(now)} series, but {len(found)} increases: too few scrapes to judge")
    return {labels: found[labels] for labels in now}


def check_flat(server, matchers):
    """No series of deliveries shows an increase."""
    for name in TOTALS:
        found = increases(server, f"{name}{{{matchers}}}")
        risen = [f"  {labels}: {value}" for labels, value in found.items() if value != 0]
        if risen:
            fail(f"{server}: {len(risen)} of {len(found)} series of {name} show an increase:\n" + "\n".join(risen[:20]))
        print(f"{server}: increase({name}{{{matchers}}}[{LOOK_BACK}]) is 0 for all of {len(found)} series")


def check_unexposed_before(server, matchers):
    """The server has scraped the target before its series appeared: they did not rise from nothing."""

    def times(name):
        found = query(server, f"{name}{{{matchers}}}[{LOOK_BACK}]")
        return {time for series in found for time, _ in series["values"]}

    exposed = times(ATTEMPTS)
    before = [time for time in times(CATCHING_UP) if time < min(exposed, default=0)]
    if not before:
        fail(f"{server}: no scrape before the first exposure, {len(exposed)} since")
    print(f"{server}: {len(before)} scrapes before the first exposure, {len(exposed)} since")


def check_risen(server, matchers, is_seen):
    """The one birth that `matchers` select shows as an increase, or does not."""
    for name in TOTALS:
        selector = f"{name}{{{matchers}}}"
        found = list(increases(server, selector).values())
        history = [[float(value) for _, value in one["values"]] for one in query(server, f"{selector}[{LOOK_BACK}]")]
        if len(found) != 1 or (found[0] > 0) != is_seen:
            wanted = "one above 0" if is_seen else "one of 0"
            fail(f"{server}: increase({selector}[{LOOK_BACK}]) is {found}, expected {wanted}; scraped: {history}")
        print(f"{server}: increase({selector}[{LOOK_BACK}]) = {found[0]:.3f}; scraped: {history[0]}")


def check_created(server, instance, matchers):
    """`_created` is there for the births that `matchers` select, and for nothing of history."""
    for name in TOTALS[:2]:
        created = name.removesuffix("_total") + "_created"
        everywhere = query(server, f'{created}{{instance="{instance}"}}')
        born = query(server, f'{created}{{instance="{instance}",{matchers}}}')
        if len(born) != 1 or len(everywhere) != 1:
            fail(f"{server}: {created}: {len(born)} of births of {len(everywhere)}, expected 1 of 1: {everywhere}")
        print(f"{server}: {created} of the birth alone, {float(born[0]['value'][1]):.0f}")


def check_caught_up(server, instance, since, rises):
    """From `since` on, totals rise in scrapes that say catching_up alone, `rises` times by webhook, and it ends."""
    attempts = sums_by_scrape(server, f'{ATTEMPTS}{{instance="{instance}"}}')
    catching_up = sums_by_scrape(server, f'{CATCHING_UP}{{instance="{instance}"}}')
    for target, by_time in attempts.items():
        times = sorted(by_time)
        states = catching_up[target]
        risen = [
            (now, by_time[before], by_time[now], states.get(now))
            for before, now in pairwise(times)
            if now >= since and by_time[now] != by_time[before]
        ]
        story = "; ".join(f"at {time}: {old:.0f} -> {new:.0f}, catching_up {state}" for time, old, new, state in risen)
        if any(new < old or state != 1 for _, old, new, state in risen):
            fail(f"{server}: {target}: a rise without catching_up, or a fall: {story}")
        if len(risen) != rises[target[2]]:
            fail(f"{server}: {target}: {len(risen)} rises, expected {rises[target[2]]}: {story}")
        if states[times[-1]] != 0:
            fail(f"{server}: {target}: catching_up is still {states[times[-1]]} in the last scrape")
        print(f"{server}: {target[2]} rose {len(risen)} times, and catching_up has ended: {story}")


def rises(text):
    webhook, count = text.split("=")
    return webhook, int(count)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, *options):
        one = commands.add_parser(name)
        for option, settings in options:
            one.add_argument(option, **settings)
        one.add_argument("servers", nargs="+", help="base URLs of Prometheus servers")

    instance = ("--instance", {"required": True})
    matchers = ("--matchers", {"required": True})
    command("books", ("--at-least", {"type": int, "default": 1}))
    command("truth", instance, ("--simulator", {"required": True}))
    command("flat", matchers)
    command("unexposed-before", matchers)
    command("born", matchers)
    command("missed", matchers)
    command("created", instance, matchers)
    command(
        "caught-up",
        instance,
        ("--since", {"type": float, "required": True}),
        ("--rises", {"type": rises, "action": "append", "required": True}),
    )
    return parser.parse_args()


def main():
    wanted = arguments()
    checks = {
        "books": lambda server: check_books(server, wanted.at_least),
        "truth": lambda server: check_truth(server, wanted.instance, wanted.simulator),
        "flat": lambda server: check_flat(server, wanted.matchers),
        "unexposed-before": lambda server: check_unexposed_before(server, wanted.matchers),
        "born": lambda server: check_risen(server, wanted.matchers, True),
        "missed": lambda server: check_risen(server, wanted.matchers, False),
        "created": lambda server: check_created(server, wanted.instance, wanted.matchers),
        "caught-up": lambda server: check_caught_up(server, wanted.instance, wanted.since, dict(wanted.rises)),
    }
    for server in wanted.servers:
        checks[wanted.command](server)


if __name__ == "__main__":
    main()
