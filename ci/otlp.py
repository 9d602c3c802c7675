#!/usr/bin/env python3
"""What OTLP receivers get of the metrics and of log records, against a scrape and against the spans; used by ci/otlp.

Usage: otlp.py tap PORT FILE
       otlp.py metrics --daemon URL (--tap FILE | --rotel FILE | --victoria-metrics URL)
       otlp.py logs --daemon URL --tap FILE
"""

import argparse
import asyncio
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

PATIENCE = 120
# What does not change once no delivery is made any more.
OF_DELIVERIES = "talkover_webhook_"
# Fewer series would prove little.
AT_LEAST = 100


def read(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def key(name, labels):
    return name, tuple(sorted(labels.items()))


def number(text):
    return float("inf") if text == "+Inf" else float(text)


def scraped(daemon):
    """{(name, labels): value} of a scrape."""
    series = {}
    for line in read(f"{daemon}/metrics").splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.match(r"([a-z_]+)(?:\{(.*)\})? (\S+)$", line).groups()
        pairs = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or ""))
        series[key(name, pairs)] = number(value)
    return series


def expanded(name, labels, bounds, counts, total):
    """The series of a histogram."""
    cumulative = 0
    for bound, count in zip([*bounds, float("inf")], counts, strict=True):
        cumulative += count
        shown = "+Inf" if bound == float("inf") else repr(float(bound))
        yield key(f"{name}_bucket", labels | {"le": shown}), cumulative
    yield key(f"{name}_count", labels), cumulative
    yield key(f"{name}_sum", labels), total


class Pushed:
    """The newest value of each series, and the starts of each."""

    def __init__(self):
        self.newest, self.starts = {}, {}

    def add(self, name, labels, start, at, samples):
        self.starts.setdefault(key(name, labels), set()).add(start)
        for series, value in samples:
            self.newest[series] = max(self.newest.get(series, (0, 0)), (at, value))

    def values(self):
        last = max((at for at, _ in self.newest.values()), default=0)
        return {series: value for series, (at, value) in self.newest.items() if at == last}


def read_tapped(path):
    pushed = Pushed()
    for line in Path(f"{path}.metrics").read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        name, labels = point["name"], point["labels"]
        if "counts" in point:
            samples = expanded(name, labels, point["bounds"], point["counts"], point["sum"])
        else:
            samples = [(key(name, labels), point["value"])]
        pushed.add(name, labels, point["start"], point["at"], samples)
    return pushed


def read_rotel(path):
    """The data points in the detailed debug output of rotel."""
    pushed, name, point = Pushed(), None, None

    def end():
        if point is None:
            return
        labels = point["labels"]
        if "count" in point:
            samples = expanded(name, labels, point["bounds"], point["counts"], point["sum"])
        else:
            samples = [(key(name, labels), point["value"])]
        pushed.add(name, labels, point["start"], point["at"], samples)

    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        if re.match(r"(Number|Histogram)DataPoints #\d+$", line):
            end()
            point = {"labels": {}, "bounds": [], "counts": []}
        elif re.match(r"(Metric #\d+|ResourceMetrics|ScopeMetrics|\d{4}-\d\d-\d\dT)", line):
            end()
            point = None
        elif match := re.match(r"     -> Name: (\S+)$", line):
            name = match.group(1)
        elif point is None:
            continue
        elif match := re.match(r"     -> (.*?): Str\((.*)\)$", line):
            point["labels"][match.group(1)] = match.group(2)
        elif match := re.match(r"(StartTimestamp|Timestamp|Value|Count|Sum): (\S+)$", line):
            names = {"StartTimestamp": "start", "Timestamp": "at", "Value": "value", "Count": "count", "Sum": "sum"}
            convert = int if "Timestamp" in match.group(1) else number
            point[names[match.group(1)]] = convert(match.group(2))
        elif match := re.match(r"ExplicitBounds #\d+: (\S+)$", line):
            point["bounds"].append(number(match.group(1)))
        elif match := re.match(r"Buckets #\d+, Count: (\d+)$", line):
            point["counts"].append(int(match.group(1)))
    end()
    return pushed


def read_victoria_metrics(server):
    """The newest values that a VictoriaMetrics has stored, without the labels of the resource and the scope."""
    series = {}
    query = urllib.parse.urlencode({"query": '{__name__=~"talkover_.*|process_.*"}'})
    for one in json.loads(read(f"{server}/api/v1/query?{query}"))["data"]["result"]:
        labels = {name: value for name, value in one["metric"].items() if "." not in name and name != "__name__"}
        if "le" in labels and labels["le"] != "+Inf":
            labels["le"] = repr(float(labels["le"]))
        series[key(one["metric"]["__name__"], labels)] = number(one["value"][1])
    return series


def differences(expected, values):
    """What a receiver has not got as a scrape shows it, in words."""
    for series, value in expected.items():
        found = values.get(series)
        if found is None:
            yield f"missing: {series} with {value}"
        elif abs(found - value) > 1e-9 * max(1.0, abs(value)):
            yield f"{series}: {found} instead of {value}"
    yield from (f"not in a scrape: {series}" for series in values if series not in expected)


def metrics(arguments):
    deadline = time.monotonic() + PATIENCE
    while True:
        shown = scraped(arguments.daemon)
        if arguments.victoria_metrics:
            pushed, values = None, read_victoria_metrics(arguments.victoria_metrics)
        else:
            pushed = read_tapped(arguments.tap) if arguments.tap else read_rotel(arguments.rotel)
            values = pushed.values()

        def of_deliveries(series):
            return {one: value for one, value in series.items() if one[0].startswith(OF_DELIVERIES)}

        faults = list(differences(of_deliveries(shown), of_deliveries(values)))
        names = {one[0] for one in shown} ^ {one[0] for one in values}
        faults += [f"only on one side: {name}" for name in names if "last_success" not in name]
        if not faults:
            break
        if time.monotonic() > deadline:
            print("\n".join(faults[:5]), file=sys.stderr)
            fail(f"{len(faults)} of {len(shown)} series are not as a scrape shows them")
        time.sleep(1)
    compared = of_deliveries(shown)
    if len(compared) < AT_LEAST:
        fail(f"only {len(compared)} series were compared")
    print(f"{len(compared)} series of deliveries as in a scrape, {len(shown)} series in all")
    # The comparison can fail.
    one = next(iter(compared))
    if not list(differences(compared, compared | {one: compared[one] + 1})):
        fail("a wrong value was not found")
    if pushed:
        restarted = {name for name, starts in pushed.starts.items() if len(starts) > 1}
        for name in restarted:
            if name[0].startswith(OF_DELIVERIES):
                fail(f"{name} has more than one start: {pushed.starts[name]}")
        if not any(name[0] == "talkover_exporter_polls_total" for name in restarted):
            fail("no counter of the process started again: was there no restart?")
        print(f"{len(pushed.starts)} series, those of deliveries each with one start over all restarts")


def logs(arguments):
    """Each failed span has its record, and each record its span."""
    deadline = time.monotonic() + PATIENCE
    while True:
        spans, records = (
            [json.loads(line) for line in Path(f"{arguments.tap}.{kind}").read_text(encoding="utf-8").splitlines()]
            for kind in ("spans", "logs")
        )
        expected = {span["span_id"]: span for span in spans if span["status"] == "ERROR"}
        found = {record["span_id"]: record for record in records}
        faults = [f"no record of {span}" for span_id, span in expected.items() if span_id not in found]
        faults += [f"no span of {record}" for span_id, record in found.items() if span_id not in expected]
        for span_id in expected.keys() & found.keys():
            span, record = expected[span_id], found[span_id]
            is_attempt = span["kind"] == "CLIENT"
            event, severity = ("talkover.attempt.failed", "WARN") if is_attempt else ("talkover.delivery.lost", "ERROR")
            wanted = (event, severity, span["trace_id"], span["end"], span["attributes"])
            if wanted != tuple(record[part] for part in ("event", "severity", "trace_id", "time", "attributes")):
                faults.append(f"{record} of {span}")
            if span["message"] and record["body"] != span["message"]:
                faults.append(f"the body of {record} of {span}")
        waiting = scraped(arguments.daemon)[key("talkover_exporter_log_record_queue_length", {})]
        if not faults and waiting == 0:
            break
        if time.monotonic() > deadline:
            print("\n".join(faults[:5]), file=sys.stderr)
            fail(f"{len(faults)} of {len(expected)} records are not as they must be; {waiting} wait")
        time.sleep(1)
    lost = sum(record["event"] == "talkover.delivery.lost" for record in found.values())
    if len(found) < 20 or lost < 3:
        fail(f"only {len(found)} records, {lost} of them of lost deliveries")
    again = len(records) - len(found)
    print(f"{len(found)} records, {lost} of them of lost deliveries, and {again} that came again")


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(message):
    return {pair.key: value(pair.value) for pair in message.attributes}


def points(metric):
    """The data points of a metric, plain."""
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        times = {"start": point.start_time_unix_nano, "at": point.time_unix_nano}
        plain = {"name": metric.name, "labels": attributes(point)} | times
        if kind == "histogram":
            yield plain | {"bounds": list(point.explicit_bounds), "counts": list(point.bucket_counts), "sum": point.sum}
        else:
            yield plain | {"value": getattr(point, point.WhichOneof("value"))}


def plain_span(span):
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "end": span.end_time_unix_nano,
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "message": span.status.message,
        "attributes": attributes(span),
    }


def plain_record(record):
    return {
        "trace_id": record.trace_id.hex(),
        "span_id": record.span_id.hex(),
        "event": record.event_name,
        "severity": record.severity_text,
        "time": record.time_unix_nano,
        "body": value(record.body),
        "attributes": attributes(record),
    }


def tap(port, path):
    """Runs oteltap, and writes what it gets: a line for each data point, log record and span."""
    from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

    async def write(stream, kind, plain):
        with open(f"{path}.{kind}", "w", encoding="utf-8", buffering=1) as out:
            async for message in stream:
                out.writelines(json.dumps(one) + "\n" for one in plain(message))

    async def run():
        async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as receiver:
            await asyncio.gather(
                write(receiver.stream_metrics(), "metrics", points),
                write(receiver.stream_logs(), "logs", lambda record: [plain_record(record)]),
                write(receiver.stream_traces(), "spans", lambda span: [plain_span(span)]),
            )

    asyncio.run(run())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tapped = commands.add_parser("tap")
    tapped.add_argument("port", type=int)
    tapped.add_argument("path")
    compared = commands.add_parser("metrics")
    compared.add_argument("--daemon", required=True)
    source = compared.add_mutually_exclusive_group(required=True)
    source.add_argument("--rotel")
    source.add_argument("--tap")
    source.add_argument("--victoria-metrics")
    records = commands.add_parser("logs")
    records.add_argument("--daemon", required=True)
    records.add_argument("--tap", required=True)
    arguments = parser.parse_args()
    if arguments.command == "tap":
        tap(arguments.port, arguments.path)
    elif arguments.command == "metrics":
        metrics(arguments)
    else:
        logs(arguments)


main()
