"""The API whose lists are too long, and what they cost the daemon.

lists.py serve KIND                              prints its address, and serves until it is ended
lists.py measure KIND http://ADDRESS PID LOG     kinds: webhooks, agents, many
"""

import http.server
import json
import os
import re
import sys
import time
import urllib.parse

from servers import fail, read

SECONDS = float(os.environ.get("TALKOVER_LISTS_SECONDS", "40"))
# The reading of a list must end by then.
PATIENCE_SECONDS = 600
PER_PAGE = 100
MANY_AGENTS = 500
# An endless list is logged once, and webhooks that are found together have no lines of their own.
MAX_LOG_BYTES = 20_000
MAX_MIB = {"webhooks": 200, "agents": 100, "many": 200}
WHAT = {
    "webhooks": "an agent's webhooks without end",
    "agents": "agents without end",
    "many": f"{MANY_AGENTS * PER_PAGE} webhooks of {MANY_AGENTS} agents",
}


def agent(number):
    return {"id": f"agent-{number}", "name": f"Agent number {number}", "current_status": "published"}


def webhook(owner, number):
    """With ids and names of the usual length."""
    return {
        "id": f"9fcafbf2-4a30-4f0e-9a55-{owner:06}{number:06}",
        "name": f"The webhook number {number} of agent {owner}",
        "webhook_url": f"https://hooks-{number % 50}.example.com/{number}",
        "timeout": 30,
        "max_retries": 3,
        "enabled": True,
    }


def page_of(make, page, count):
    """A page of a list of `count` entries; `None` if the list never ends."""
    first = (page - 1) * PER_PAGE
    last = first + PER_PAGE if count is None else min(count, first + PER_PAGE)
    total = count if count is not None else 10**9
    pagination = {"current_page": page, "per_page": PER_PAGE, "total": total, "last_page": -(-total // PER_PAGE)}
    return [make(number) for number in range(first, last)], pagination


class Api(http.server.BaseHTTPRequestHandler):
    """One of the three worlds. No webhook has any delivery."""

    protocol_version = "HTTP/1.1"
    kind = ""

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        page = int(urllib.parse.parse_qs(url.query).get("page", ["1"])[0])
        owner = re.fullmatch(r"/api/v1/agents/agent-(\d+)/webhooks", url.path)
        if url.path == "/api/v1/agents":
            agents = {"webhooks": 1, "agents": None, "many": MANY_AGENTS}[self.kind]
            data, pagination = page_of(agent, page, agents)
        elif owner:
            webhooks = {"webhooks": None, "agents": 0, "many": PER_PAGE}[self.kind]
            data, pagination = page_of(lambda number: webhook(int(owner[1]), number), page, webhooks)
        else:
            data, pagination = [], {"current_page": 1, "per_page": PER_PAGE, "total": 0, "last_page": 1}
        body = json.dumps({"success": True, "data": data, "pagination": pagination, "meta": pagination}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(kind):
    Api.kind = kind
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def resident(pid, field="VmRSS"):
    """Its memory in MiB; `VmHWM` is the most that it ever was."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:")) / 1024


def is_searched(kind, url):
    """Whether the lists have been read. Reading the webhooks of 20,000 agents would take too long to wait for."""
    if kind == "agents":
        return "talkover_exporter_discovery_last_success_timestamp_seconds{" in read(f"{url}/metrics")
    return not json.loads(read(f"{url}/api/v1/status"))["environments"][0]["is_searching"]


def patiently(url, what, is_there):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if is_there():
                return
        except OSError:
            pass
        time.sleep(0.5)
    fail(f"not within {PATIENCE_SECONDS} s: {what} of {url}")


def measure(kind, url, pid, log):
    patiently(url, "a scrape", lambda: bool(read(f"{url}/metrics")))
    begun, idle = time.monotonic(), resident(pid)
    patiently(url, "the end of its lists", lambda: is_searched(kind, url))
    took = time.monotonic() - begun
    time.sleep(SECONDS)
    scrape, logged, most = read(f"{url}/metrics"), os.path.getsize(log), resident(pid, "VmHWM")
    webhooks = sum(line.startswith("talkover_webhook_info{") for line in scrape.splitlines())
    skipped = next(
        (line.split()[1] for line in scrape.splitlines() if "discovery_webhooks_skipped{" in line), "not told"
    )
    print(
        f"{WHAT[kind]}: read after {took:.0f} s; {webhooks} webhooks are read, {skipped} are not; memory "
        f"{idle:.0f} MiB at the start, {resident(pid):.0f} MiB now, at most {most:.0f} MiB; {logged} bytes of log",
        flush=True,
    )
    if most > MAX_MIB[kind] or logged > MAX_LOG_BYTES:
        fail(f"more than {MAX_MIB[kind]} MiB or {MAX_LOG_BYTES} bytes")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
