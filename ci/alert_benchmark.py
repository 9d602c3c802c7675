#!/usr/bin/env python3
"""How often the alerts page for a healthy webhook, and how soon for a dead one; used by ci/alert-benchmark.

Usage: alert_benchmark.py small|full SCRATCH [DOCUMENT]

Deliveries are simulated here, and turned into what the exporter would show at each scrape. `promtool` makes blocks of
it, and a real Prometheus evaluates the expressions of dashboards/rules, as they are, over all of the time: recording
rules first, whose results become blocks too, then alerts. Only `for` is applied here. What Sloth and Pyrra generate for
the same series goes the same way.
"""

import datetime
import pathlib
import random
import statistics
import sys
import time

from alert_rules import Server, bundled, pages, pyrra, sloth
from simulated_webhooks import DAY, DEATHS, HOUR, RATES, WATCHED, chance, dead_runs, healthy_cells


def rate_of(cell, kind, first):
    """False pages in 100 years; `None` if no rule that could page was evaluated."""
    seen = cell["seen"][kind]
    if not cell[kind]:
        return 0.0 if not seen else None
    return sum(name in first for name in cell[kind]) / len(cell[kind]) * seen / cell["years"] * 100


def number(value):
    return (
        "–"
        if value is None
        else "0"
        if value == 0
        else "< 0.1"
        if value < 0.1
        else f"{value:.1f}"
        if value < 10
        else f"{value:,.0f}"
    )


def healthy_table(cells, first):
    yield "| traffic | succeed | retries | webhook-years | bundled | by chance alone | Sloth | Pyrra |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for cell in cells:
        figures = [
            rate_of(cell, "strict", first["bundled"]),
            *(rate_of(cell, "loose", first[name]) for name in ("Sloth", "Pyrra")),
        ]
        figures.insert(1, chance(RATES[cell["traffic"]], 1 - cell["health"]))
        shown = " | ".join(map(number, figures))
        yield f"| {cell['traffic']} | {cell['health'] * 100:g} % | {cell['retries']} | {cell['years']:.2g} | {shown} |"


def moment(value):
    return (
        f"{value / 60:.1f} min"
        if value < 2 * HOUR
        else f"{value / HOUR:.1f} h"
        if value < 2 * DAY
        else f"{value / DAY:.1f} d"
    )


def death_of(run, first):
    """(seconds from the first failure to the page, deliveries that had ended lost by then), or None."""
    at = first.get(run["webhook"].name, 0)
    begin = run["webhook"].first_failure
    if at < begin:
        return None
    return at - begin, sum(one[-1][2] == "failed" and one[-1][1] <= at for one in run["failed"])


def dead_table(runs, first):
    yield "| what died | traffic | bundled | lost | Sloth | lost | Pyrra | lost |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for death in DEATHS:
        for traffic in RATES:
            row = []
            mine = [run for run in runs if (run["traffic"], run["death"]) == (traffic, death)]
            for name in ("bundled", "Sloth", "Pyrra"):
                found = [one for run in mine if (one := death_of(run, first[name]))]
                missing = len(mine) - len(found)
                note = f" ({missing} of {len(mine)} never)" if missing and found else ""
                if not found:
                    row += [f"not within {moment(WATCHED[traffic])}", "–"]
                    continue
                times = [seconds for seconds, _ in found]
                row += [f"{moment(statistics.median(times))}, at most {moment(max(times))}{note}"]
                row += [f"{statistics.median_high(o[1] for o in found)}, {max(o[1] for o in found)}"]
            yield f"| {death} | {traffic} | {' | '.join(row)} |"


def demands(cells, runs, first):
    """What the bundled rules must reach."""
    for cell in cells:
        figure = rate_of(cell, "strict", first["bundled"])
        if cell["retries"] and figure and cell["years"] >= 50 and figure > 1:
            yield f"{figure:.1f} false pages in 100 years at {cell['traffic']}, {cell['health']}"
    for run in runs:
        if DEATHS[run["death"]][0] < 1:
            continue
        found, name = death_of(run, first["bundled"]), f"{run['death']}, {run['traffic']}"
        if not found:
            if len(run["failed"]) >= 4:
                yield f"{name}: no page, with {len(run['failed'])} failed deliveries"
        elif RATES[run["traffic"]] >= 1 / 60:
            if found[0] > 900:
                yield f"{name}: paged after {moment(found[0])}"
        elif found[1] > 3:
            yield f"{name}: paged after {found[1]} lost deliveries"


def main(size, scratch, document=None):
    began, dice, scratch = time.time(), random.Random(1), pathlib.Path(scratch)
    budget, cap, repeats = {"small": (4_000, 1, 1), "full": (60_000, 4, 3)}[size]
    webhooks = []
    cells = healthy_cells(dice, budget, cap, webhooks)
    runs = dead_runs(dice, repeats, webhooks)
    end = int(max(stop for _, stop in webhooks))
    print(f"{len(webhooks)} stretches that could page, simulated in {time.time() - began:.0f} s", flush=True)
    server, file = Server(scratch, int(random.SystemRandom().randrange(20000, 32000))), scratch / "series.om"
    with file.open("w") as lines:
        for webhook, stop in webhooks:
            lines.writelines(webhook.lines(0, stop))
        lines.write("# EOF\n")
    server.load(file)
    first = {
        name: pages(server, rules, end)
        for name, rules in (("bundled", bundled()), ("Sloth", sloth()), ("Pyrra", pyrra()))
    }
    table = [*healthy_table(cells, first), "", *dead_table(runs, first)]
    print("\n".join(table))
    if faults := list(demands(cells, runs, first)):
        print("\n".join(f"missed: {fault}" for fault in faults))
    if document:
        write(pathlib.Path(document), table)
    print(f"{time.time() - began:.0f} s")
    sys.exit(1 if faults and size == "small" else 0)


def write(path, table):
    """Puts the table between its marks in the document."""
    today = datetime.datetime.now(datetime.UTC).date()
    before, rest = path.read_text().split("<!-- benchmark -->\n")
    after = rest.split("<!-- /benchmark -->\n")[1]
    body = "\n".join([f"Measured on {today} by `ci/alert-benchmark full`.", "", *table])
    path.write_text(f"{before}<!-- benchmark -->\n{body}\n<!-- /benchmark -->\n{after}")


if __name__ == "__main__":
    main(*sys.argv[1:])
