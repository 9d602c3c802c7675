#!/usr/bin/env python3
"""Compares what Prometheus shows of the past with the simulator's truth.

Usage: history.py past PROMETHEUS TRUTH FILE DASHBOARDS
       history.py live PROMETHEUS TRUTH ADDED
       history.py measure TRUTH COMMAND…

`past` demands that the counts of every day equal the truth, that the values that are scraped now are those of the
file's last samples, that nothing was reset, and that the main panels show something over 30 days. `live` demands that
ADDED attempts came on top since. `measure` runs a command that reads all entries, and demands that it takes at most
100 MiB. Exits 1 with every fault.
"""

import datetime
import json
import re
import resource
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from pathlib import Path

from servers import fail, read

# What is scraped has labels of the scrape; what was written has none.
LIVE = '{job="talkover"}'
ATTEMPTS = "talkover_webhook_delivery_attempts_total"
DAY = 86400
MAX_MIB = 100
# Panels that must show something of the past, and those that cannot: they show metrics of the daemon itself.
VALUES = {
    "__rate_interval": "1h",
    "__interval": "1h",
    "__range": "30d",
    "environment": "test",
    "webhook": ".*",
    "event": ".*",
    "objective": "0.99",
    "step": "300",
}
PAST_PANELS = {
    "overview.json": [
        "Success rate",
        "Lost deliveries",
        "Deliveries by result",
        "Success rate over time",
        "Worst webhooks",
        "Attempts by status",
        "Failed attempts by HTTP status",
        "Attempt duration (p50, p95, p99)",
        "Delivery delay (p50, p95, p99)",
        "Attempts per delivery",
    ],
    "webhook.json": ["Deliveries by result", "Attempts by event", "p95 duration by event", "Failures by event"],
}


class Prometheus:
    def __init__(self, server):
        self.server = server

    def get(self, path, **parameters):
        url = f"{self.server}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.loads(read(url))["data"]["result"]

    def value(self, query, at=None):
        result = self.get("query", query=query, time=at or time.time())
        return sum(float(one["value"][1]) for one in result)

    def vector(self, query, at=None):
        result = self.get("query", query=query, time=at or time.time())
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in result}

    def has_range(self, query):
        now = time.time()
        result = self.get("query_range", query=query, start=now - 28 * DAY, end=now - DAY, step=6 * 3600)
        return any(value not in ("NaN", "+Inf") for one in result for _, value in one["values"])


def seconds(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def true_attempts(truth):
    """The attempts by (webhook, status, day), as they were made."""
    counts = Counter()
    for webhook in truth["webhooks"]:
        for entry in webhook["entries"]:
            if not entry["invalid"] and entry["status"] != "pending":
                counts[webhook["webhook_id"], entry["status"], int(seconds(entry["created_at"]) // DAY)] += 1
    return counts


def days(prometheus, truth, faults):
    counts = true_attempts(truth)
    total = sum(counts.values())
    # A day ends with its last second, and the sample at midnight shows also what was made in that very second.
    made = [seconds(entry["created_at"]) for webhook in truth["webhooks"] for entry in webhook["entries"]]
    first, last = (int(moment // DAY) for moment in (min(made), max(made)))
    for webhook, status in sorted({(webhook, status) for webhook, status, _ in counts}):
        query = f'sum({ATTEMPTS}{{webhook_id="{webhook}",status="{status}"}})'
        for day in range(first, last):
            shown = prometheus.value(query, (day + 1) * DAY) - prometheus.value(query, day * DAY)
            at_midnight = sum(moment % DAY == 0 for moment in made)
            if abs(shown - counts[webhook, status, day]) > at_midnight:
                faults.append(f"{webhook} {status} day {day}: {shown} instead of {counts[webhook, status, day]}")
    shown = prometheus.value(f"sum({ATTEMPTS}{LIVE})")
    if shown != total:
        faults.append(f"all attempts: {shown} instead of {total}")
    increase = prometheus.value(f"sum(increase({ATTEMPTS}[31d]))")
    if abs(increase - total) > total * 0.01:
        faults.append(f"increase over all: {increase} instead of about {total}")
    print(f"{total} attempts over {last - first + 1} days; increase over 31 days: {increase:.0f}")


def joins(prometheus, path, faults):
    """The file's last sample of each counter is what is scraped now."""
    last = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(ATTEMPTS):
                series, value, _ = line.rsplit(" ", 2)
                last[tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', series)))] = float(value)
    shown = {
        tuple(pair for pair in key if pair[0] not in ("__name__", "instance", "job")): value
        for key, value in prometheus.vector(ATTEMPTS + LIVE).items()
    }
    if last != shown:
        faults.append(f"what is scraped is not what the file ends with: {set(last.items()) ^ set(shown.items())}")
    for metric in (ATTEMPTS, "talkover_webhook_deliveries_total", "talkover_webhook_delivery_duration_seconds_count"):
        resets = prometheus.value(f"sum(resets({metric}[31d]))")
        if resets:
            faults.append(f"{metric}: {resets} resets")
    print(f"{len(last)} series of {ATTEMPTS} go on from the file's last sample")


def fill(text):
    for name in sorted(VALUES, key=len, reverse=True):
        text = text.replace("${" + name + "}", VALUES[name]).replace("$" + name, VALUES[name])
    return text


def panels(board):
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def dashboards(prometheus, directory, faults):
    for name, wanted in PAST_PANELS.items():
        board = json.loads(Path(directory, name).read_text(encoding="utf-8"))
        found = {panel["title"]: panel.get("targets", []) for panel in panels(board)}
        for title in wanted:
            queries = [fill(target["expr"]) for target in found.get(title, [])]
            if not any(prometheus.has_range(query) for query in queries):
                faults.append(f"{name}: {title} shows nothing of the past: {queries or sorted(found)}")
    print(f"{sum(map(len, PAST_PANELS.values()))} panels show the past")


def live(prometheus, truth, added, faults):
    total = sum(true_attempts(truth).values())
    deadline = time.time() + 60
    while True:
        shown = prometheus.value(f"sum({ATTEMPTS}{LIVE})")
        if shown == total + added:
            break
        if time.time() > deadline:
            faults.append(f"{shown} attempts instead of {total} + {added}")
            return
        time.sleep(0.5)
    print(f"{added} attempts on top of {total}")


def measure(truth, command):
    """Runs a command that reads all entries, and prints what it takes."""
    began = time.monotonic()
    # Before the truth is read: what this process takes when it is forked counts as the command's.
    subprocess.run(command, check=True)
    took, usage = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    mib, cpu = usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime
    webhooks = json.loads(Path(truth).read_text(encoding="utf-8"))["webhooks"]
    entries = sum(len(webhook["entries"]) for webhook in webhooks)
    each = f"{cpu:.1f} s of CPU, {cpu / entries * 1e6:.0f} µs an entry"
    print(f"{entries} entries in {took:.0f} s: at most {mib:.0f} MiB, {each}", flush=True)
    if mib > MAX_MIB:
        fail(f"more than {MAX_MIB} MiB")


def main():
    if sys.argv[1] == "measure":
        return measure(sys.argv[2], sys.argv[3:])
    command, server, truth, *rest = sys.argv[1:]
    prometheus, faults = Prometheus(server), []
    truth = json.loads(Path(truth).read_text(encoding="utf-8"))
    if command == "past":
        days(prometheus, truth, faults)
        joins(prometheus, rest[0], faults)
        dashboards(prometheus, rest[1], faults)
    else:
        live(prometheus, truth, int(rest[0]), faults)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
