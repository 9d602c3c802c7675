#!/usr/bin/env python3
"""Alerts on their way through real servers: scales rules, receives Alertmanager's notifications, judges them.

Used by ci/alertmanager. On a fault, exits 1 with what was expected and what was found.
"""

import argparse
import http.server
import json
import pathlib
import re
import time

from servers import fail, get, query

SPIKE = "TalkoverWebhookFailureSpike"
# A duration at the places where a rule file has one: a range, the step of a subquery, an offset, `for`, `interval`;
# none in a name or a text.
DURATION = re.compile(
    r"(?P<before>\[|:(?=\d+\w+\])|offset |for: |interval: )(?P<number>\d+)(?P<unit>[smhdw])(?=[\]:\s)])"
)
# The spike's `for` as it is bundled, in seconds.
BUNDLED_FOR = 300
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LABELS = {
    "alertname": SPIKE,
    "severity": "warning",
    "environment": "test",
    "webhook_id": "orders",
    "webhook_name": "Orders",
    "owner_name": "Shop",
}
SUMMARY = re.compile(r"^Webhook Orders \(test\): (\d+(\.\d+)?)% of delivery attempts fail$")
DESCRIPTION = re.compile(r"attempts of webhook Orders in test failed \(about [1-9]\d*\)")


def scale(factor, target, files):
    """Writes the rule files with every duration divided by `factor`."""

    def shorter(match):
        milliseconds = int(match["number"]) * SECONDS[match["unit"]] * 1000 // factor
        return f"{match['before']}{milliseconds}ms"

    for file in map(pathlib.Path, files):
        text, count = DURATION.subn(shorter, file.read_text())
        pathlib.Path(target, file.name).write_text(text)
        print(f"{file}: {count} durations are a {factor}th")


def receive(address, file):
    """Appends each notification to a file, as a line with the time of its arrival."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with open(file, "a") as lines:
                lines.write(json.dumps({"at": time.time(), "alerts": body["alerts"]}) + "\n")
            self.send_response(200)
            self.end_headers()

    host, port = address.split(":")
    http.server.HTTPServer((host, int(port)), Handler).serve_forever()


def groups(server):
    return get(f"{server}/api/v1/rules")["data"]["groups"]


def arrivals(file):
    """(time of arrival, alert) of all that has been notified so far."""
    path = pathlib.Path(file)
    # What follows the last line's end is being written.
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(line["at"], alert) for line in map(json.loads, lines) for alert in line["alerts"]]


def await_spike(file, status, deadline):
    while time.time() < deadline:
        for at, alert in arrivals(file):
            if alert["labels"]["alertname"] == SPIKE and alert["status"] == status:
                return at, alert
        time.sleep(0.2)
    seen = [(alert["labels"]["alertname"], alert["status"]) for _, alert in arrivals(file)]
    fail(f"no notification of {SPIKE} with status {status}; seen: {seen}")


def check_text(alert):
    labels, annotations = alert["labels"], alert["annotations"]
    if labels != {**labels, **LABELS}:
        fail(f"labels are {labels}, expected {LABELS}")
    if not (found := SUMMARY.match(annotations["summary"])) or not 20 < float(found[1]) <= 100:
        fail(f"the summary is {annotations['summary']!r}")
    if not DESCRIPTION.search(annotations["description"]):
        fail(f"the description is {annotations['description']!r}")
    if not annotations["runbook_url"].endswith("docs/runbooks.md#" + SPIKE.lower()):
        fail(f"the runbook is {annotations['runbook_url']!r}")


def check_rules(server):
    """No rule fails; says which return data."""
    rules = [rule for group in groups(server) for rule in group["rules"]]
    broken = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
    if broken:
        fail("rules fail:\n" + "\n".join(broken))
    empty = [rule["name"] for rule in rules if rule["type"] == "recording" and not query(server, rule["name"])]
    fired = {alert["labels"]["alertname"] for rule in rules if rule["type"] == "alerting" for alert in rule["alerts"]}
    print(f"{len(rules)} rules, none fails; recorded nothing so far: {', '.join(sorted(set(empty))) or 'none'}")
    print(f"alerts besides: {', '.join(sorted(fired)) or 'none'}")


def judge(server, file, factor, evaluation):
    at, alert = await_spike(file, "firing", time.time() + 120)
    check_text(alert)
    rule = next(r for g in groups(server) for r in g["rules"] if r["name"] == SPIKE)
    wait = rule["duration"]
    if wait * factor != BUNDLED_FOR:
        fail(f"the alert waits for {wait} s, which is not a {factor}th of its {BUNDLED_FOR} s")
    active = float(query(server, f'ALERTS_FOR_STATE{{alertname="{SPIKE}"}}')[0]["value"][1])
    late = at - active - wait
    print(f"{SPIKE}: {alert['annotations']['summary']}; notified {late:.1f} s after its `for` of {wait} s was over")
    if not -1 <= late <= 2 * evaluation:
        fail(f"that is not within two evaluation intervals ({evaluation} s)")
    check_rules(server)
    resolved, _ = await_spike(file, "resolved", time.time() + 120)
    print(f"resolved {resolved - at:.1f} s later")
    labels = [alert["labels"] for _, alert in arrivals(file)]
    strangers = [one for one in labels if one.get("webhook_id", "orders") != "orders"]
    if strangers:
        fail(f"a webhook that never failed is alerted on: {strangers}")
    others = sorted({one["alertname"] for one in labels} - {SPIKE})
    print(f"also notified, all of Orders: {', '.join(others) or 'nothing'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scaling = commands.add_parser("scale")
    scaling.add_argument("factor", type=int)
    scaling.add_argument("target")
    scaling.add_argument("files", nargs="+")
    receiving = commands.add_parser("receive")
    receiving.add_argument("address")
    receiving.add_argument("file")
    judging = commands.add_parser("judge")
    judging.add_argument("--prometheus", required=True)
    judging.add_argument("--notified", required=True)
    judging.add_argument("--scale", type=int, required=True)
    judging.add_argument("--evaluation", type=float, required=True)
    given = parser.parse_args()
    if given.command == "scale":
        scale(given.factor, given.target, given.files)
    elif given.command == "receive":
        receive(given.address, given.file)
    else:
        judge(given.prometheus, given.notified, given.scale, given.evaluation)


if __name__ == "__main__":
    main()
