#!/usr/bin/env python3
"""Evaluates every expression of the bundled dashboards and rules on a real Prometheus, the way Grafana does.

Usage: dashboards.py live|down PROMETHEUS DIRECTORY

`live` demands that every query succeeds and returns data, and that the main ones have the values of the scripted
scenario (ci/dashboards). `down` demands that nothing at all is shown once the exporter is gone. Exits 1 with every
fault.
"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
from pathlib import Path

from servers import read

ALL = ".*"
# A window that the deliveries of this scenario fit into, and one that is over soon after the exporter is gone.
WINDOWS = {"live": {"__rate_interval": "30s", "__range": "5m"}, "down": {"__rate_interval": "4s", "__range": "4s"}}
# What has no series on this machine, and why.
MAY_BE_EMPTY = {
    "process_virtual_memory_max_bytes": "the address space is not limited",
    "unless on (environment, webhook_id) bottomk(10": "there are no more than three webhooks",
}
# Rules over a past that a world of a minute does not have.
PAST = re.compile(r":(past|expected)|30d$")
# There only for webhooks whose newest delivery was lost, which none is here; tests/rules/down.yml has it.
WHILE_FAILING = "webhook:talkover_webhook_failing_since:timestamp_seconds"
# What looks further back than an outage, and so remembers what was before it.
LOOKS_BACK = re.compile(r"\[(10m|1h|6h|30d)\]")

# What ci/dashboards has added to the log of `leads`: 20 successes; 5 failures with 503, 3 without an answer, 1 with
# 404; 4 with 500 that are tried again; 2 that are pending.
LOST, ENDED, RETRYING, PENDING = 9, 29, 4, 2
# (dashboard, panel's title, query, webhook, labels that pick the series, value, by how much it may be off). Increases
# are extrapolated by Prometheus to the ends of their window.
TRUTH = [
    ("overview", "Lost deliveries", "A", "leads", {}, LOST, 0.05),
    ("overview", "Success rate", "A", "leads", {}, 20 / ENDED, 0.02),
    ("overview", "Success rate", "B", "leads", {}, ENDED, 0.05),
    ("overview", "Error budget left (30 days)", "A", "leads", {}, 1 - LOST / ENDED / 0.01, 0.05),
    ("overview", "Burn rate (1 h)", "A", "leads", {}, LOST / ENDED / 0.01, 0.05),
    ("overview", "Error budget left (30 days)", "A", "quiet", {}, 1, 0),
    ("overview", "Lost deliveries", "A", "quiet", {}, 0, 0),
    ("overview", "Failing polls", "A", ALL, {}, 0, 0),
    ("overview", "Worst webhooks", "B", ALL, {"webhook_id": "leads"}, LOST, 0.05),
    ("overview", "Worst webhooks", "C", ALL, {"webhook_id": "leads"}, 20 / ENDED, 0.02),
    ("overview", "Worst webhooks", "D", ALL, {"webhook_id": "quiet"}, 0, 0),
    ("overview", "Worst webhooks", "E", ALL, {"webhook_id": "leads"}, (LOST + RETRYING) / (ENDED + RETRYING), 0.02),
    ("overview", "Open deliveries", "B", "leads", {}, PENDING, 0),
    ("overview", "Open deliveries", "A", "leads", {}, RETRYING, 0),
    ("overview", "Attempts per delivery", "A", "leads", {"le": "1.0"}, ENDED, 0.05),
    # Durations are uniform between 0.3 s and 0.45 s: the bucket from 0.25 s to 0.5 s, in which Prometheus interpolates.
    ("overview", "Attempt duration (p50, p95, p99)", "A", "orders", {}, 0.375, 0.02),
    ("overview", "Attempt duration (p50, p95, p99)", "C", "orders", {}, 0.4975, 0.02),
    ("webhook", "Lost deliveries", "A", "leads", {}, LOST, 0.05),
    ("webhook", "Timeout used (p99)", "A", "orders", {}, 0.4975 / 30, 0.02),
    ("webhook", "Timeout used (p99)", "B", "leads", {}, 12, 0),
    ("webhook", "Attempts per delivery and limit", "C", "leads", {}, 5, 0),
    ("webhook", "Failures by event", "A", "leads", {"http_status": "503", "status": "failed"}, 5, 0.05),
    ("webhook", "Failures by event", "A", "leads", {"http_status": "none", "status": "failed"}, 3, 0.05),
    ("webhook", "Failures by event", "A", "leads", {"http_status": "404", "status": "failed"}, 1, 0.05),
    ("webhook", "Failures by event", "A", "leads", {"http_status": "500", "status": "retrying"}, RETRYING, 0.05),
    ("webhook", "Webhook", "D", "leads", {}, 4, 0),
    ("exporter", "Exporters up", "A", ALL, {}, 1, 0),
    ("exporter", "Unbalanced ledgers", "A", ALL, {}, 0, 0),
    ("exporter", "Ledger balance", "A", ALL, {"environment": "test"}, 0, 0),
    ("exporter", "Catching up", "A", ALL, {}, 0, 0),
    ("exporter", "Webhooks by state", "A", ALL, {"state": "healthy"}, 3, 0),
]
OPTIONS = {
    "environment": {"test": "test"},
    "webhook": {"Shop/Orders": "orders", "Spring/Leads": "leads", "Shop/Quiet": "quiet"},
    "event": {"lead_won": "lead_won", "order_paid": "order_paid", "order_sent": "order_sent"},
    # The least step: polls come every second or two here.
    "step": {"30": "30"},
}


class Prometheus:
    def __init__(self, server):
        self.server = server

    def get(self, path, **parameters):
        url = f"{self.server}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            return json.loads(read(url))["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def instant(self, expr, at):
        result = self.get("query", query=expr, time=at)
        if result["resultType"] == "scalar":
            return [({}, float(result["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in result["result"]]

    def range(self, expr, at, length, step):
        """The last value of every series, if it reaches the end."""
        result = self.get("query_range", query=expr, start=at - length, end=at, step=step)["result"]
        return [(one["metric"], float(one["values"][-1][1])) for one in result if one["values"][-1][0] >= at - step]

    def labels(self, selector, label):
        return self.get(f"label/{label}/values", **{"match[]": selector})


def fill(text, values):
    for name, value in sorted(values.items(), key=lambda item: -len(item[0])):
        text = text.replace("${" + name + "}", value).replace("$" + name, value)
    return text


def options(prometheus, variable, values, at):
    """{what is shown: value} of a variable, as Grafana makes them."""
    query = fill(variable["query"]["query"], values)
    function, inside = re.fullmatch(r"(label_values|query_result)\((.*)\)", query, re.S).groups()
    if function == "label_values":
        selector, label = inside.rsplit(",", 1)
        return {value: value for value in prometheus.labels(selector, label.strip())}
    found = {}
    for metric, value in prometheus.instant(inside, at):
        labels = ",".join(f'{name}="{text}"' for name, text in sorted(metric.items()))
        line = f"{{{labels}}} {value:g} {at * 1000:.0f}"
        # Python spells named groups another way.
        match = re.search(variable["regex"].strip("/").replace("\\/", "/").replace("(?<", "(?P<"), line)
        groups = match.groupdict() if match else {}
        value = groups.get("value") or match.group(1)
        found[groups.get("text", value)] = value
    return found


def queries(dashboard):
    """(panel's title, query)"""
    for row in dashboard["panels"]:
        # A collapsed row holds its panels itself.
        for panel in [row, *row.get("panels", [])]:
            for target in panel.get("targets", []):
                yield panel["title"], target
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], {"refId": "annotation", "expr": annotation["expr"], "instant": True}


def ask(prometheus, target, values, at):
    expr = fill(target["expr"], values)
    if left := re.search(r"\$\{?\w+", expr):
        raise ValueError(f"{left.group()} is not replaced")
    return prometheus.instant(expr, at) if target["instant"] else prometheus.range(expr, at, 60, 5)


def matching(series, labels):
    return [value for metric, value in series if all(metric.get(name) == text for name, text in labels.items())]


class Judge:
    def __init__(self, prometheus, directory, mode):
        self.prometheus, self.mode, self.at = prometheus, mode, time.time()
        self.dashboards = {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}
        self.faults, self.asked = [], 0

    def evaluate(self, name, title, target, webhook):
        values = WINDOWS[self.mode] | {"environment": ALL, "event": ALL, "webhook": webhook}
        try:
            self.asked += 1
            return ask(self.prometheus, target, values, self.at)
        except ValueError as error:
            self.faults.append(f"{name}, {title}, {target['refId']}: {error}")
            return None

    def every_query(self, webhooks):
        for name, dashboard in self.dashboards.items():
            for title, target in queries(dashboard):
                for webhook in webhooks:
                    series = self.evaluate(name, title, target, webhook)
                    if series is not None and (fault := self.fault(target, series)):
                        place = f"{name}, {title}, {target['refId']}, webhook {webhook}"
                        self.faults.append(f"{place}: {fault}\n{target['expr']}")

    def fault(self, target, series):
        expr = target["expr"]
        if target["refId"] == "annotation":
            return None
        if self.mode == "live":
            return None if series or any(name in expr for name in MAY_BE_EMPTY) else "no data"
        return None if not series or LOOKS_BACK.search(expr) else f"shows {series[:3]} though the exporter is down"

    def truth(self):
        for name, title, ref, webhook, labels, expected, off in TRUTH:
            of_panel = [target for panel, target in queries(self.dashboards[name]) if panel == title]
            found = [target for target in of_panel if target["refId"] == ref]
            if len(found) != 1:
                self.faults.append(f"{name} has {len(found)} queries {title}, {ref}")
                continue
            series = matching(self.evaluate(name, title, found[0], webhook) or [], labels)
            if len(series) != 1 or abs(series[0] - expected) > abs(expected) * off + 1e-9:
                self.faults.append(f"{name}, {title}, {ref}, webhook {webhook}: {series}, the truth is {expected}")
            else:
                print(f"{name}, {title}, {ref}, {webhook} {labels or ''}: {series[0]:g} (the truth: {expected:g})")

    def variables(self):
        for name, dashboard in self.dashboards.items():
            values = WINDOWS[self.mode] | {"environment": ALL, "webhook": ALL, "event": ALL}
            for variable in dashboard["templating"]["list"]:
                if variable["type"] == "query":
                    found = options(self.prometheus, variable, values, self.at)
                    if found != OPTIONS[variable["name"]]:
                        self.faults.append(f"{name}, variable {variable['name']}: {found}")

    def rules(self):
        """Every rule was evaluated without an error; what is recorded is there."""
        for group in self.prometheus.get("rules")["groups"]:
            for rule in group["rules"]:
                self.asked += 1
                if rule["health"] != "ok":
                    self.faults.append(f"rule {rule['name']}: {rule['health']}: {rule.get('lastError')}")
                elif self.is_due(rule) and not self.prometheus.instant(rule["name"], self.at):
                    self.faults.append(f"rule {rule['name']} records nothing")

    @staticmethod
    def is_due(rule):
        """Whether the rule must have recorded something by now."""
        return rule["type"] == "recording" and not PAST.search(rule["name"]) and rule["name"] != WHILE_FAILING


def main():
    mode, server, directory = sys.argv[1:]
    judge = Judge(Prometheus(server), Path(directory), mode)
    if mode == "live":
        judge.every_query([ALL, "orders", "leads", "quiet"])
        judge.variables()
        judge.truth()
        judge.rules()
    else:
        judge.every_query([ALL, "quiet"])
    if judge.faults:
        sys.exit("error: " + "\nerror: ".join(judge.faults))
    print(f"{mode}: {judge.asked} queries and rules, as they should be")


main()
