"""The rules that are compared, and what a real Prometheus makes of them; used by alert_benchmark.py."""

import json
import math
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import yaml

from simulated_webhooks import DAY, HOUR, START, STEP


def bundled():
    files = (yaml.safe_load(path.read_text()) for path in sorted(pathlib.Path("dashboards/rules").glob("*.yml")))
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


# The bundled alerts that page because of deliveries. TalkoverWebhookDisabled is left out: it depends on TalkOver's
# lists alone.
PAGES = {"TalkoverWebhookDown", "TalkoverErrorBudgetBurn", "Sloth", "Pyrra"}
BAD = 'sum by (environment, webhook_id) (rate(talkover_webhook_deliveries_total{result=~"failed|abandoned"}[%s]))'
ALL = "sum by (environment, webhook_id) (rate(talkover_webhook_deliveries_total[%s]))"


def sloth():
    """slok/sloth for an objective of 99 % over 30 days: optimized SLI rules, and one page alert of two pairs of windows
    (internal/app/generate/prometheus/prometheus_test.go shows the result)."""
    rules = [
        {
            "record": f"slo:sli_error:ratio_rate{window}",
            "expr": f"({BAD % window})\n/\n({ALL % window})",
            "labels": {"sloth_window": window},
        }
        for window in ("5m", "30m", "1h", "6h")
    ]
    over = "(slo:sli_error:ratio_rate{} > ({} * 0.01))"
    pair = f"{over} and ignoring (sloth_window) {over}"
    expr = f"({pair.format('5m', 14.4, '1h', 14.4)}) or ignoring (sloth_window) ({pair.format('30m', 6, '6h', 6)})"
    return [*rules, {"alert": "Sloth", "expr": expr, "labels": {"severity": "critical"}}]


def pyrra():
    """pyrra-dev/pyrra for a target of 0.99 over 4 weeks: slo/rules.go, Objective.Burnrates and Windows."""
    name = "talkover_webhook_deliveries:burnrate"
    rules = [
        {"record": name + window, "expr": f"{BAD % window} / {ALL % window}"} for window in ("5m", "30m", "1h", "6h")
    ]
    alerts = [
        {
            "alert": "Pyrra",
            "expr": f"{name}{short} > ({factor} * (1-0.99)) and {name}{long} > ({factor} * (1-0.99))",
            "for": wait,
            "labels": {"severity": "critical", "long": long},
        }
        for short, long, factor, wait in (("5m", "1h", 14, "2m"), ("30m", "6h", 7, "15m"))
    ]
    return rules + alerts


def needed(rules):
    """The alerts that page for a webhook, and by levels the recording rules that they rest on."""
    by_name = {}
    for rule in rules:
        by_name.setdefault(rule.get("record"), []).append(rule)

    def names(rule):
        return set(re.findall(r"[a-z_]+(?::[A-Za-z0-9_]+)+", re.sub(r'"[^"]*"', "", rule["expr"]))) & set(by_name)

    alerts = [rule for rule in rules if rule.get("alert") in PAGES and rule["labels"]["severity"] == "critical"]
    wanted, todo = {}, set().union(*map(names, alerts))
    while todo:
        name = todo.pop()
        wanted[name] = set().union(*map(names, by_name[name]))
        todo |= wanted[name] - set(wanted)
    levels = []
    while left := {name for name in wanted if not any(name in level for level in levels)}:
        done = set(wanted) - left
        levels.append({name for name in left if wanted[name] <= done})
    return alerts, [[rule for name in sorted(level) for rule in by_name[name]] for level in levels]


class Server:
    def __init__(self, scratch, port):
        self.data, self.port, self.scratch = scratch / "tsdb", port, scratch

    def load(self, file):
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", file, self.data]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def __enter__(self):
        config = self.scratch / "empty.yml"
        config.write_text("{}\n")
        log = open(self.scratch / "prometheus.log", "a")
        options = [f"--config.file={config}", f"--storage.tsdb.path={self.data}", "--storage.tsdb.retention.time=50y"]
        options += [
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--query.timeout=30m",
            f"--query.lookback-delta={STEP}s",
            "--query.max-samples=500000000",
        ]
        self.process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log)
        for _ in range(600):
            try:
                self.get("/-/ready")
                return self
            except OSError:
                time.sleep(0.2)
        sys.exit("error: Prometheus does not start; see prometheus.log")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def get(self, path, **query):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        return opener.open(url, timeout=1800).read()

    def series(self, expr, end):
        answer = json.loads(self.get("/api/v1/query_range", query=expr, start=START, end=START + end, step=STEP))
        return answer["data"]["result"]


def text_of(labels):
    return ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items() if key != "__name__")


def seconds(duration):
    return sum(
        int(number) * {"s": 1, "m": 60, "h": HOUR, "d": DAY}[unit]
        for number, unit in re.findall(r"(\d+)([smhd])", duration)
    )


def fired(points, wait):
    """When an alert with this `for` fires, of the moments at which its expression has a result."""
    began = previous = None
    for at in points:
        if previous is None or at - previous > STEP:
            began = at
        previous = at
        if at - began >= wait:
            return at
    return None


def pages(server, rules, end):
    """The first page of each webhook, in seconds from the beginning."""
    alerts, levels = needed(rules)
    for number, level in enumerate(levels):
        file = server.scratch / "recorded.om"
        with server, file.open("w") as lines:
            for rule in level:
                for one in server.series(rule["expr"], end):
                    labels = text_of(one["metric"] | rule.get("labels", {}))
                    lines.writelines(f"{rule['record']}{{{labels}}} {value} {at}\n" for at, value in one["values"])
            lines.write("# EOF\n")
        server.load(file)
        print(f"level {number}: {len(level)} recording rules", flush=True)
    first = {}
    with server:
        for rule in alerts:
            for one in server.series(rule["expr"], end):
                at = fired([at for at, _ in one["values"]], seconds(rule.get("for", "0s")))
                name = one["metric"]["webhook_id"]
                if at is not None:
                    first[name] = min(at - START, first.get(name, math.inf))
    return first
