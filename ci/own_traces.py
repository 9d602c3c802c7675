#!/usr/bin/env python3
"""Judges the daemon's own traces as real receivers have got them, and the configuration of a collector. Exits 1 with
what is wrong."""

import argparse
from collections import Counter

import yaml

from servers import fail
from spans import read_rotel, read_tap

# What each root may have below it, by the names of spans; requests are named after their path.
BELOW = {
    "poll": {"GET", "wait", "decide", "commit", "stage"},
    "discover": {"GET", "register"},
    "reload": {"prepare", "exchange"},
    "verify": {"audit", "GET", "wait"},
}
# Which of them each trace must have, if it ended well.
NEEDED = {"poll": "commit", "discover": "GET", "reload": "exchange", "verify": "audit"}


def short(name):
    """The name of a span without the path of a request."""
    return name.split(" ")[0]


def root_of(span, by_id):
    """The root above a span; None if a span between them has not arrived."""
    while span["parent_id"]:
        span = by_id.get(span["parent_id"])
        if span is None:
            return None
    return span


def faults_of_request(span):
    attributes = span["attributes"]
    for key in "http.request.method", "url.full", "url.template", "server.address", "server.port":
        if key not in attributes:
            yield f"{key} is missing: {span}"
    status = attributes.get("http.response.status_code")
    if (status == 200) == ("error.type" in attributes):
        yield f"the status does not fit the error: {span}"
    if span["kind"] != "CLIENT" or span["name"] != f"GET {attributes.get('url.template')}":
        yield f"not the span of an HTTP client: {span}"


def faults_of(spans, wanted, is_complete):
    """What is wrong with the spans of one receiver, in words. Without `is_complete` a root may be on its way."""
    by_id = {span["span_id"]: span for span in spans}
    if len(by_id) != len(spans):
        yield f"{len(spans) - len(by_id)} spans came twice"
    below = Counter()
    for span in spans:
        root = root_of(span, by_id)
        if span["end"] < span["start"]:
            yield f"it ends before it begins: {span}"
        if short(span["name"]) == "GET" and is_complete:
            yield from faults_of_request(span)
        if root is None:
            if is_complete:
                yield f"it has no root: {span}"
            continue
        if root["trace_id"] != span["trace_id"]:
            yield f"it is not in the trace of its root: {span}"
        if span is not root and short(span["name"]) not in BELOW.get(root["name"], ()):
            yield f"not expected below {root['name']}: {span}"
        below[(root["span_id"], short(span["name"]))] += 1
    roots = [span for span in spans if not span["parent_id"]]
    for name in {span["name"] for span in roots} - set(BELOW):
        yield f"an unknown root: {name}"
    for name in wanted:
        found = [span for span in roots if span["name"] == name and below[(span["span_id"], NEEDED[name])]]
        if not found:
            yield f"no trace {name} with {NEEDED[name]}"


def judge_spans(arguments):
    for path, spans in (arguments.rotel, read_rotel(arguments.rotel)), (arguments.tap, read_tap(arguments.tap)):
        faults = list(faults_of(spans, arguments.wanted, arguments.complete))
        if faults:
            fail(f"{path}: {len(faults)} faults, such as {faults[0]}")
        names = Counter(short(span["name"]) for span in spans)
        print(f"{path}: {len(spans)} spans as they must be: {dict(names)}")
        # The judgement can fail.
        if arguments.complete and not list(faults_of(spans[:-1] + [spans[-1] | {"parent_id": "00"}], (), True)):
            fail("a span without its parent was not found")


def judge_collector(arguments):
    """The parts of the collector's validation that need no collector: what a pipeline names is defined, and the other
    way round; the processor that limits memory comes first, the one that batches last; each environment has one."""
    with open(arguments.path, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    pipelines = config["service"]["pipelines"]
    for kind in "receivers", "processors", "exporters":
        used = {name for pipeline in pipelines.values() for name in pipeline[kind]}
        if used != set(config[kind]):
            fail(f"{arguments.path}: {kind}: defined {sorted(config[kind])}, used {sorted(used)}")
    for name, pipeline in pipelines.items():
        processors = pipeline["processors"]
        if processors[0] != "memory_limiter" or processors[-1] != "batch" or "tail_sampling" not in processors:
            fail(f"{arguments.path}: {name}: {processors}")
        environment = name.split("/")[1]
        if f"filter/{environment}" not in processors or pipeline["exporters"] != [f"otlp/{environment}"]:
            fail(f"{arguments.path}: {name}: not a pipeline of {environment}")
    names = [policy["name"] for policy in config["processors"]["tail_sampling"]["policies"]]
    if len(names) != len(set(names)):
        fail(f"{arguments.path}: two policies of one name: {names}")
    for policy in config["processors"]["tail_sampling"]["policies"]:
        if policy["type"] not in policy:
            fail(f"{arguments.path}: the policy {policy['name']} lacks the section {policy['type']}")
    print(f"{arguments.path}: {len(pipelines)} pipelines, policies {names}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    spans = commands.add_parser("spans")
    spans.add_argument("--rotel", required=True)
    spans.add_argument("--tap", required=True)
    spans.add_argument("--complete", action="store_true")
    spans.add_argument("wanted", nargs="+")
    collector = commands.add_parser("collector")
    collector.add_argument("path")
    arguments = parser.parse_args()
    (judge_spans if arguments.command == "spans" else judge_collector)(arguments)


main()
