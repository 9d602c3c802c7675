#!/usr/bin/env python3
"""Compares the spans that a real receiver has got with what the simulated TalkOver really did. On a fault, exits 1 with
the spans.

Expectations are worked out here from the entries of the log and the rules of the public contract: ids, parents, times,
attributes and status of one span for each attempt, and of one root for each delivery that has ended.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import re
import sys
import time
import urllib.parse
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

from servers import fail, get, read

TOKEN = {"Authorization": "Bearer talq_simulator"}
PATIENCE = 90


# What the log says.


def pages(url):
    page, entries = 1, None
    while entries != []:
        entries = get(f"{url}?per_page=100&page={page}", TOKEN)["data"]
        yield from entries
        page += 1


def nanos(text):
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) * 1_000_000_000


def hashed(length, *parts):
    return hashlib.sha256("\0".join(parts).encode()).digest()[:length].hex()


def cleaned(error):
    """The first line, every URL in it cut to scheme and host, at most 256 characters."""
    line = error.split("\n")[0].strip()

    def cut(match):
        authority = re.split(r"[/?#]", match.group(2))[0].rsplit("@")[-1]
        return match.group(1) + re.sub(r":\d*$", "", authority)

    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s\"'`]*)", cut, line)[:256]


def attempt_times(entry):
    created, duration = nanos(entry["created_at"]), entry.get("duration_ms", 0) * 1_000_000
    delivered = entry.get("delivered_at")
    start = max(created, nanos(delivered) - duration) if delivered else created
    return start, start + duration


def orders(attempts):
    """All orders in which the attempts of a delivery may have been read: those that are not late come in theirs."""
    for order in itertools.permutations(attempts):
        in_time = [entry["attempt"] for entry in order if not entry["late"]]
        if in_time == sorted(in_time):
            yield order


def possible_openings(attempts):
    """{id of an attempt: id of the entry that opened its delivery}, for each of these orders: an attempt belongs to the
    delivery of the one before it, else, where it turned up after the next one, to that of the next one."""
    for order in orders(attempts):
        openings = {}
        for entry in order:
            number = entry["attempt"]
            openings[number] = openings.get(number - 1) or openings.get(number + 1) or entry["id"]
        yield {entry["id"]: openings[entry["attempt"]] for entry in attempts}


def expected_spans(simulator, environment, received=None):
    """{span id: span} of everything that has happened. In which order late attempts were read, only the spans that were
    received can tell; without any, those of every order are expected, by (trace id, span id)."""
    expected = {}
    traces = {span["span_id"]: span for span in received or []}
    for webhook in get(f"{simulator}/_simulator/truth")["webhooks"]:
        kind, owner = webhook["owner_type"], webhook["owner_id"]
        base = f"{simulator}/api/v1/{kind}s/{owner}/webhooks"
        # For an agent they are one level deeper.
        data = get(base, TOKEN)["data"]
        listed = data["webhooks"] if kind == "agent" else data
        about = next(found for found in listed if found["id"] == webhook["webhook_id"])
        entries = {entry["id"]: entry for entry in pages(f"{base}/{webhook['webhook_id']}/logs")}
        deliveries = defaultdict(list)
        for truth in webhook["entries"]:
            deliveries[truth["delivery"]].append(entries[truth["id"]] | {"late": truth["late"]})
        for attempts in deliveries.values():
            attempts.sort(key=lambda entry: entry["attempt"])
            possible = [
                {
                    span["span_id"]: span
                    for span in spans_of_delivery(environment, webhook, about, attempts, openings, traces)
                }
                for openings in possible_openings(attempts)
            ]
            if received is None:
                for spans in possible:
                    expected |= {(span["trace_id"], span_id): span for span_id, span in spans.items()}
                continue
            as_received = (spans for spans in possible if all(traces.get(key) == span for key, span in spans.items()))
            expected |= next(as_received, possible[0])
    return expected


def spans_of_delivery(environment, webhook, about, attempts, openings, received):
    last = attempts[-1]
    common = {
        "talkover.environment": environment,
        "talkover.webhook.id": webhook["webhook_id"],
        "talkover.webhook.name": about["name"],
        f"talkover.{webhook['owner_type']}.id": webhook["owner_id"],
        "talkover.event": last["event"],
    }
    url = re.match(r"(https?)://([^:/]+)(?::(\d+))?", about["webhook_url"])
    method = about.get("http_method", "POST")
    for entry in attempts:
        opening = openings[entry["id"]]
        start, end = attempt_times(entry)
        is_bad = entry["status"] in ("failed", "retrying")
        code = entry.get("http_status")
        attributes = common | {
            "http.request.method": method,
            "server.address": url.group(2),
            "server.port": int(url.group(3) or {"http": 80, "https": 443}[url.group(1)]),
            "talkover.log.id": entry["id"],
            "talkover.delivery.status": entry["status"],
            "talkover.delivery.attempt": entry["attempt"],
        }
        if code:
            attributes["http.response.status_code"] = code
        if entry["attempt"] > 1:
            attributes["http.request.resend_count"] = entry["attempt"] - 1
        if is_bad:
            attributes["error.type"] = str(code) if code else "connection_error"
        yield {
            "trace_id": hashed(16, environment, webhook["webhook_id"], opening),
            "span_id": hashed(8, "attempt", environment, entry["id"]),
            "parent_id": hashed(8, "delivery", environment, opening),
            "name": f"{method} {entry['event']}",
            "kind": "CLIENT",
            "start": start,
            "end": end,
            "status": "ERROR" if is_bad else "UNSET",
            "message": cleaned(entry.get("error", "")) if is_bad else "",
            "attributes": attributes,
        }
    if last["status"] in ("success", "failed"):
        opening = openings[last["id"]]
        root_id = hashed(8, "delivery", environment, opening)
        # It begins with the first attempt that had turned up when it ended: the opening one, or a late one before it.
        before = [entry for entry in attempts if openings[entry["id"]] == opening]
        number = next(entry["attempt"] for entry in before if entry["id"] == opening)
        begins = [nanos(entry["created_at"]) for entry in before if entry["attempt"] <= number]
        start = received.get(root_id, {}).get("start")
        yield {
            "trace_id": hashed(16, environment, webhook["webhook_id"], opening),
            "span_id": root_id,
            "parent_id": "",
            "name": f"deliver {last['event']}",
            "kind": "INTERNAL",
            "start": start if start in begins else begins[0],
            "end": attempt_times(last)[1],
            "status": "ERROR" if last["status"] == "failed" else "UNSET",
            "message": "",
            "attributes": common
            | {"talkover.delivery.attempts": last["attempt"], "talkover.delivery.result": last["status"]},
        }


# What a receiver has got.


def read_rotel(path):
    """The spans in the detailed debug output of rotel."""
    spans, span, in_span = [], None, False
    fields = {"Trace ID": "trace_id", "Parent ID": "parent_id", "ID": "span_id", "Name": "name", "Kind": "kind"}
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        if re.match(r"Span #\d+$", line):
            span = {"parent_id": "", "status": "UNSET", "message": "", "attributes": {}}
            spans.append(span)
            in_span = True
        elif re.match(r"(ResourceSpans|ScopeSpans|InstrumentationScope)", line):
            in_span = False
        elif in_span and (match := re.match(r"     -> (.*?): (Str|Int)\((.*)\)$", line)):
            key, kind, value = match.groups()
            span["attributes"][key] = int(value) if kind == "Int" else value
        elif in_span and (match := re.match(r"(Start|End) time: (\d+)$", line)):
            span[match.group(1).lower()] = int(match.group(2))
        elif in_span and (match := re.match(r"    ([A-Z][A-Za-z ]*?) *: ?(.*)$", line)):
            key, value = match.groups()
            if key in fields:
                span[fields[key]] = value.removeprefix("SPAN_KIND_")
            elif key == "Status code":
                span["status"] = value.removeprefix("STATUS_CODE_")
            elif key == "Status message":
                span["message"] = value
    return spans


def read_tap(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def tap(port, path):
    """Runs oteltap, and writes what it gets as one line for each span."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
    from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

    def plain(span):
        def value(any_value):
            return getattr(any_value, any_value.WhichOneof("value"))

        return {
            "trace_id": span.trace_id.hex(),
            "span_id": span.span_id.hex(),
            "parent_id": span.parent_span_id.hex(),
            "name": span.name,
            "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
            "message": span.status.message,
            "attributes": {pair.key: value(pair.value) for pair in span.attributes},
        }

    async def run():
        async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as receiver:
            with open(path, "w", encoding="utf-8", buffering=1) as out:
                async for span in receiver.stream_traces():
                    out.write(json.dumps(plain(span)) + "\n")

    asyncio.run(run())


# The judgement.


def faults_of(expected, received):
    """Returns what is wrong, in words; an empty list if every span was received, once or more often, as expected."""
    by_id = {}
    for span in received:
        known = by_id.setdefault(span["span_id"], span)
        if known != span:
            yield f"two different spans under one id:\n  {known}\n  {span}"
    for span_id, span in expected.items():
        if span_id not in by_id:
            yield f"missing: {span}"
        elif by_id[span_id] != span:
            yield f"different:\n  expected {span}\n  received {by_id[span_id]}"
    yield from (f"not expected: {span}" for span_id, span in by_id.items() if span_id not in expected)


def compare(arguments):
    read_spans = read_rotel if arguments.rotel else read_tap
    path = arguments.rotel or arguments.tap
    deadline = time.monotonic() + PATIENCE
    while True:
        received = read_spans(path)
        expected = expected_spans(arguments.simulator, arguments.environment, received)
        faults = list(faults_of(expected, received))
        queue = re.search(r"^talkover_exporter_span_queue_length (\d+)$", read(f"{arguments.daemon}/metrics"), re.M)
        if not faults and queue.group(1) == "0":
            break
        if time.monotonic() > deadline:
            print("\n".join(faults[:5]), file=sys.stderr)
            fail(f"{len(faults)} of {len(expected)} spans are not as they must be in {path}; {queue.group(0)}")
        time.sleep(1)
    if len(expected) < arguments.at_least:
        fail(f"only {len(expected)} spans were expected")
    kinds = Counter((span["kind"], span["status"]) for span in expected.values())
    if len(kinds) < 4:
        fail(f"not every kind of span was there: {kinds}")
    again = len(received) - len(expected)
    print(f"{path}: {len(expected)} spans as they must be, {again} of them more than once: {dict(kinds)}")
    # The comparison can fail.
    broken = dict(next(iter(expected.values())), start=1)
    if not list(faults_of(expected | {broken["span_id"]: broken}, received)):
        fail("a wrong start was not found")


def stored_exemplars(prometheus, metric):
    """[(labels of the series, exemplar)] on a Prometheus server, once there are some."""
    deadline = time.monotonic() + PATIENCE
    while True:
        query = urllib.parse.urlencode({"query": metric, "start": time.time() - 3600, "end": time.time() + 60})
        series = get(f"{prometheus}/api/v1/query_exemplars?{query}")["data"]
        found = [(one["seriesLabels"], exemplar) for one in series for exemplar in one["exemplars"]]
        if len(found) >= 5:
            print(f"{prometheus}: {metric}: {len(found)} exemplars on {len(series)} series")
            return found
        if time.monotonic() > deadline:
            fail(f"{metric}: only {len(found)} exemplars")
        time.sleep(1)


def exemplars(arguments):
    """What a Prometheus server has stored as exemplars leads to spans of attempts, with their values and times."""
    spans = expected_spans(arguments.simulator, arguments.environment)
    expected = {ids: span for ids, span in spans.items() if span["kind"] == "CLIENT"}
    created = {}
    for webhook in get(f"{arguments.simulator}/_simulator/truth")["webhooks"]:
        for entry in webhook["entries"]:
            created[entry["id"]] = nanos(entry["created_at"]) / 1e9
    for metric in "talkover_webhook_delivery_attempts_total", "talkover_webhook_delivery_duration_seconds_bucket":
        for labels, exemplar in stored_exemplars(arguments.prometheus, metric):
            span = expected.get((exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"]))
            if span is None:
                fail(f"{metric}: no attempt has the ids of {exemplar}")
            seconds = (span["end"] - span["start"]) / 1e9
            value = seconds if "le" in labels else 1.0
            at = created[span["attributes"]["talkover.log.id"]]
            if abs(float(exemplar["value"]) - value) > 1e-9 or exemplar["timestamp"] != at:
                fail(f"{metric}: {exemplar} instead of {value} at {at}")
            if "le" in labels and seconds > float(labels["le"]):
                fail(f"{metric}: {exemplar} in the bucket up to {labels['le']}")
            if labels["status"] != span["attributes"]["talkover.delivery.status"]:
                fail(f"{metric}: {exemplar} on {labels}")
        print(f"{metric}: each exemplar is the span of its attempt")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tapped = commands.add_parser("tap")
    tapped.add_argument("port", type=int)
    tapped.add_argument("path")
    compared = commands.add_parser("compare")
    compared.add_argument("--simulator", required=True)
    compared.add_argument("--daemon", required=True)
    compared.add_argument("--environment", default="test")
    compared.add_argument("--at-least", type=int, default=100)
    source = compared.add_mutually_exclusive_group(required=True)
    source.add_argument("--rotel")
    source.add_argument("--tap")
    read_back = commands.add_parser("exemplars")
    read_back.add_argument("--simulator", required=True)
    read_back.add_argument("--prometheus", required=True)
    read_back.add_argument("--environment", default="test")
    arguments = parser.parse_args()
    if arguments.command == "tap":
        tap(arguments.port, arguments.path)
    elif arguments.command == "exemplars":
        exemplars(arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
