#!/usr/bin/env python3
"""Every alert can fire and be silent by test, and leads to a runbook. On a fault, exits 1 and names all of them.

Usage: rules.py RULES RUNBOOKS TESTS. Needs PyYAML.
"""

import pathlib
import re
import sys

import yaml

# Every alert contains the address of the runbooks, because the format has no variables. Put another one in place by
#   sed -i 's|https://github.com/.*/docs/runbooks.md|https://...|' dashboards/rules/*.yml
RUNBOOKS = "https://github.com/talkover-exporter/talkover-exporter/blob/main/docs/runbooks.md"
SEVERITIES = {"critical", "warning", "none"}
# Fires always, and so is never silent.
ALWAYS = {"TalkoverWatchdog"}


def load(directory):
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(pathlib.Path(directory).glob("*.yml"))}


def alerts_of(files):
    return [rule for file in files.values() for group in file["groups"] for rule in group["rules"] if "alert" in rule]


def identity(name, labels):
    """What tells alerts of one name apart: the window of the objective, or what a webhook was disabled after."""
    return name, labels.get("long") or labels.get("after", "")


def tested(files):
    """The alerts that fire in some test, and those that do not in some."""
    firing, silent = set(), set()
    for file in files.values():
        for test in file["tests"]:
            for case in test.get("alert_rule_test", []):
                name, expected = case["alertname"], case["exp_alerts"]
                firing |= {identity(name, one["exp_labels"]) for one in expected}
                silent |= set() if expected else {name}
    return firing, silent


def faults_of_alert(rule, firing, silent, sections):
    name, labels, annotations = rule["alert"], rule.get("labels", {}), rule.get("annotations", {})
    anchor = name.lower()
    if labels.get("severity") not in SEVERITIES:
        yield f"{name}: the severity is none of {sorted(SEVERITIES)}"
    for key in ("summary", "description"):
        if not annotations.get(key):
            yield f"{name}: no {key}"
    # Quoted text is a value, even if it reads like a label.
    by_webhook = re.search(r"\bwebhook_id\b", re.sub(r'"[^"]*"', '""', rule["expr"]))
    if by_webhook and "webhook_name" not in annotations.get("summary", ""):
        yield f"{name}: the summary does not name the webhook"
    if annotations.get("runbook_url") != f"{RUNBOOKS}#{anchor}":
        yield f"{name}: runbook_url is {annotations.get('runbook_url')}, expected {RUNBOOKS}#{anchor}"
    if anchor not in sections:
        yield f"{name}: no section in the runbooks"
    if identity(name, labels) not in firing:
        yield f"{' '.join(identity(name, labels))}: no test in which it fires"
    if name not in silent | ALWAYS:
        yield f"{name}: no test in which it is silent"


def main(rules, runbooks, tests):
    alerts = alerts_of(load(rules))
    text = pathlib.Path(runbooks).read_text()
    sections = {title.lower() for title in re.findall(r"^### (\S+)$", text, re.M)}
    firing, silent = tested(load(tests))
    faults = [fault for rule in alerts for fault in faults_of_alert(rule, firing, silent, sections)]
    names = {rule["alert"].lower() for rule in alerts}
    faults += [f"the runbook {section} is of no alert" for section in sorted(sections - names)]
    parts = re.split(r"^### ", text, flags=re.M)[1:]
    faults += [
        f"the runbook {part.split()[0]} tells of no false positives"
        for part in parts
        if "False positives: " not in part
    ]
    if not alerts or faults:
        sys.exit("\n".join(f"error: {fault}" for fault in faults or ["no alerts"]))
    print(f"{len(alerts)} alerts, each with a test that fires, one that is silent, and one of {len(sections)} runbooks")


if __name__ == "__main__":
    main(*sys.argv[1:])
