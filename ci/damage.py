#!/usr/bin/env python3
"""Damages copies of a state file, starts a daemon on each, and counts what becomes of it.

Exits 1 if a wrong number was served. Usage: damage.py BINARY DIRECTORY FLIPS SWAPS LOGS. DIRECTORY has config.yml,
the state of a killed daemon in killed/, and an older copy of it in old/. The API is away meanwhile: what is served is
what the state says.
"""

import collections
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request

BINARY, DIRECTORY = sys.argv[1], pathlib.Path(sys.argv[2])
FLIPS, SWAPS, LOGS = map(int, sys.argv[3:6])
PATIENCE = 60
# Types of b-tree pages, and the length of their headers (https://www.sqlite.org/fileformat.html, section 1.6).
HEADERS = {2: 12, 5: 12, 10: 8, 13: 8}


def used_bytes(data, size):
    """The places of bytes that mean something, page by page."""
    for number in range(len(data) // size):
        start = number * size
        head = start + (100 if number == 0 else 0)
        if data[head] not in HEADERS:
            # Overflow, pointer-map and free pages.
            yield number, [place for place in range(start, start + size) if data[place]]
            continue
        cells, content = struct.unpack(">HH", data[head + 3 : head + 7])
        pointers_end = head + HEADERS[data[head]] + 2 * cells
        yield number, [*range(start, pointers_end), *range(start + (content or 65536), start + size)]


def pages_of(data, size, needles):
    return {
        number
        for number in range(len(data) // size)
        if any(n in data[number * size : (number + 1) * size] for n in needles)
    }


class Trial:
    """A copy of the state in a directory of its own."""

    def __init__(self, source):
        self.directory = pathlib.Path(tempfile.mkdtemp(dir=DIRECTORY))
        for file in source.glob("state.db*"):
            if file.suffix not in {".budget", ".lock"} and not file.name.endswith("-shm"):
                shutil.copy(file, self.directory)
        self.state = self.directory / "state.db"
        config = (DIRECTORY / "config.yml").read_text()
        config = config.replace(str(DIRECTORY / "state.db"), str(self.state))
        # A port on which no process listens.
        config = re.sub(r"(base_url: )\S+", r"\g<1>http://127.0.0.1:1", config)
        (self.directory / "config.yml").write_text(config)

    def run(self):
        """How the daemon fares: what it serves, or what it says when it ends."""
        variables = os.environ | {"TALKOVER_TOKEN": "talq_simulator", "NO_PROXY": "*"}
        command = [BINARY, "run", "--config", str(self.directory / "config.yml")]
        daemon = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        log = []
        try:
            for line in daemon.stderr:
                log.append(line)
                if found := re.search(r"listen=(\S+)", line):
                    with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=PATIENCE) as answer:
                        return answer.read().decode(), "".join(log)
            return None, "".join(log)
        finally:
            daemon.kill()
            daemon.wait(PATIENCE)
            daemon.stderr.close()
            shutil.rmtree(self.directory)

    def outcome(self, truth):
        metrics, log = self.run()
        if metrics is None:
            named = str(self.state) in log
            is_located = named and re.search(r"\(table \w+", log)
            return (
                "refused, table named" if is_located else "refused, file named"
            ) if named else "WRONG: ended without a reason", log
        shown = durable(metrics)
        if shown == truth:
            return "exact", log
        if 'talkover_exporter_state_problem{problem="behind"} 1' in metrics and not shown:
            return "reported: behind, nothing shown", log
        if 'talkover_exporter_state_problem{problem="new"} 1' in metrics and not shown:
            return "reported: new, nothing shown", log
        return "WRONG: other numbers were served", log


def durable(metrics):
    """What is counted, by series."""
    names = (
        "talkover_webhook_deliver",
        "talkover_webhook_attempts",
        "talkover_exporter_log_entries",
        "talkover_exporter_history",
    )
    lines = (line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(names))
    return {
        series: value
        for series, value in lines
        if not series.startswith("talkover_webhook_deliveries_open") or value != "0"
    }


def merged():
    """The killed daemon's state, with its write-ahead log carried over: one file."""
    directory = DIRECTORY / "merged"
    directory.mkdir()
    for file in (DIRECTORY / "killed").glob("state.db*"):
        shutil.copy(file, directory)
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)')",
            directory / "state.db",
        ],
        check=True,
    )
    for name in ("state.db-wal", "state.db-shm"):
        (directory / name).unlink(missing_ok=True)
    return directory


def main():
    choose = random.Random(1)
    source = merged()
    data = (source / "state.db").read_bytes()
    size = struct.unpack(">H", data[16:18])[0] or 65536
    metrics, log = Trial(source).run()
    truth = durable(metrics or sys.exit(f"the sound state is refused: {log}"))
    killed, _ = Trial(DIRECTORY / "killed").run()
    assert truth and durable(killed) == truth, "the write-ahead log holds the rest"
    print(f"{len(data) // size} pages of {size} bytes, {len(truth)} series")
    used = dict(used_bytes(data, size))
    of_totals = sorted(pages_of(data, size, [b"attempts[", b'log_entries["']) & used.keys())
    outcomes = collections.defaultdict(collections.Counter)
    wrong = []

    def count(kind, trial, what):
        outcome, log = trial.outcome(truth)
        outcomes[kind][outcome] += 1
        if outcome.startswith("WRONG"):
            wrong.append(f"{kind}: {what}: {outcome}\n{log}")

    def damaged(change):
        trial = Trial(source)
        content = bytearray(data)
        change(content)
        trial.state.write_bytes(content)
        return trial

    for number in range(FLIPS):
        # Every second one in the pages of the totals.
        places = (
            used[choose.choice(of_totals)] if number % 2 and of_totals else [p for page in used.values() for p in page]
        )
        place, bit = choose.choice(places), choose.randrange(8)

        def flip(content, place=place, bit=bit):
            content[place] ^= 1 << bit

        count("one bit flipped", damaged(flip), f"bit {bit} of byte {place}, page {place // size + 1}")
    for _ in range(SWAPS):
        first, second = choose.sample(range(len(data) // size), 2)

        def swap(content, first=first, second=second):
            a, b = slice(first * size, (first + 1) * size), slice(second * size, (second + 1) * size)
            content[a], content[b] = content[b], content[a]

        count("two pages swapped", damaged(swap), f"pages {first + 1} and {second + 1}")
    for number in range(LOGS):
        trial = Trial(DIRECTORY / "killed")
        log = trial.directory / "state.db-wal"
        length = log.stat().st_size
        place = choose.randrange(length)
        if number % 5 == 0:
            log.unlink()
            kind = "write-ahead log lost"
        elif number % 5 == 1:
            shutil.copy(DIRECTORY / "old" / "state.db", trial.state)
            log.unlink()
            if (DIRECTORY / "old" / "state.db-wal").exists():
                shutil.copy(DIRECTORY / "old" / "state.db-wal", log)
            kind = "older copy put back"
        elif number % 5 < 4:
            os.truncate(log, place)
            kind = "write-ahead log cut"
        else:
            content = bytearray(log.read_bytes())
            content[place] ^= 1 << choose.randrange(8)
            log.write_bytes(content)
            kind = "write-ahead log flipped"
        count(kind, trial, f"byte {place} of {length}")
    for kind, found in outcomes.items():
        print(
            f"{kind} ({found.total()}): " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
        )
    sys.exit("\n".join(wrong) if wrong else 0)


main()
