"""The attacks of ci/abuse on the daemon's port, and what is measured meanwhile.

abuse.py scenario                            prints a world whose scrape has 6 MiB and changes all the time
abuse.py http[s]://ADDRESS PID ATTACK…       attacks: slow, crowd, windows, passwords, nobody, pages
"""

import base64
import http.client
import json
import os
import random
import re
import socket
import ssl
import statistics
import struct
import sys
import threading
import time
import urllib.parse

from servers import fail, get, read

SECONDS = float(os.environ.get("TALKOVER_ABUSE_SECONDS", "60"))
MAX_SCRAPE_SECONDS = 1.0
MAX_MIB = 64
# From here on a scrape is large.
MIN_BYTES = 5_000_000
# As Prometheus asks.
SCRAPE = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
# Requests of the status page.
PAGES_PER_SECOND = 100
PAGE_READERS = 10
PLAIN = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"


def scenario():
    """Six webhooks, each at its limit of label sets, with a few deliveries a second."""
    events = [{"name": f"event_{number}"} for number in range(60)]
    statuses = [{"status": status} for status in (400, 403, 404, 409, 500, 502, 503, 504)]
    webhooks = [
        {
            "id": f"webhook-{number}",
            "name": f"Webhook {number}",
            "url": "https://hooks.example.com/",
            "owner": {"type": "agent", "id": "shop", "name": "Shop"},
            "max_retries": 1,
            "rate": 4,
            "events": events,
            "failures": {"probability": 0.5, "connection": 0.1, "statuses": statuses},
        }
        for number in range(6)
    ]
    retries = {"first": "2s", "factor": 1, "max": "2s"}
    world = {"rate_limit_per_minute": 100000, "history": "900s", "retries": retries, "webhooks": webhooks}
    print(json.dumps(world, indent=1))


class Target:
    """The daemon that is attacked."""

    def __init__(self, url, pid):
        self.url, self.pid = urllib.parse.urlsplit(url), pid
        # Status and seconds of each status page.
        self.read_pages = []
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def resident(self):
        """Its memory in MiB."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def get(self, path, headers, timeout=30):
        """Status and length of an answer."""
        if self.url.scheme == "https":
            connection = http.client.HTTPSConnection(self.url.netloc, timeout=timeout, context=self.context)
        else:
            connection = http.client.HTTPConnection(self.url.netloc, timeout=timeout)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, len(answer.read())
        finally:
            connection.close()

    def connect(self, receive_buffer=None, protocols=None):
        """A connection, over TLS with these protocols if there are any."""
        door = socket.socket()
        if receive_buffer:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        door.settimeout(30)
        door.connect((self.url.hostname, self.url.port))
        if not protocols:
            return door
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(protocols)
        return context.wrap_socket(door)

    def polls(self):
        """How many polls have succeeded."""
        text = read(f"{self.url.geturl()}/metrics")
        succeeded = re.findall(r'^talkover_exporter_polls_total\{.*result="success"\} (\d+)', text, re.MULTILINE)
        return sum(map(int, succeeded))

    def await_metrics(self, headers):
        """Waits until all is read and the scrape no longer grows much; returns its size."""
        last, deadline = 0, time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                status, size = self.get("/metrics", headers)
            except OSError:
                status, size = 0, 0
            if status == 200 and MIN_BYTES < size < last * 1.02:
                return size
            last = size
            time.sleep(3)
        fail(f"the scrape has {last} bytes only")


class Measured(threading.Thread):
    """A scrape a second, and the memory beside it."""

    def __init__(self, target, headers):
        super().__init__(daemon=True)
        self.target, self.headers, self.is_over = target, headers, threading.Event()
        self.seconds, self.others, self.peak, self.descriptors = [], [], 0.0, 0

    def run(self):
        threading.Thread(target=self.sample, daemon=True).start()
        while not self.is_over.is_set():
            begun = time.monotonic()
            try:
                status, _ = self.target.get("/metrics", self.headers)
            except OSError as error:
                status = type(error).__name__
            self.seconds.append(time.monotonic() - begun)
            if status != 200:
                self.others.append(status)
            self.is_over.wait(max(0.0, begun + 1 - time.monotonic()))

    def sample(self):
        while not self.is_over.is_set():
            self.peak = max(self.peak, self.target.resident())
            self.descriptors = max(self.descriptors, self.target.descriptors())
            time.sleep(0.1)


def forever(work, is_over):
    """Repeats a client's work, whatever happens to it."""
    while not is_over.is_set():
        try:
            work()
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)


def slow(target, is_over):
    """200 clients that take a byte a second."""

    def client():
        with target.connect(receive_buffer=4096) as door:
            door.sendall(PLAIN)
            while not is_over.is_set() and door.recv(1):
                time.sleep(1)

    return [lambda: forever(client, is_over)] * 200


def crowd(target, is_over):
    """50 clients that scrape at once, again and again, uncompressed."""

    def client():
        with target.connect() as door:
            buffer, begun = bytearray(1 << 20), time.monotonic()
            door.sendall(PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            while not is_over.is_set() and door.recv_into(buffer):
                pass
            time.sleep(max(0.0, begun + 1 - time.monotonic()))

    return [lambda: forever(client, is_over)] * 50


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def windows(target, is_over):
    """Ten HTTP/2 connections with 32 requests each, whose windows stay at 0; pings show that they are alive."""

    def literal(name, value):
        return bytes([0, len(name)]) + name + bytes([len(value)]) + value

    def client():
        with target.connect(protocols=["h2"]) as door:
            # SETTINGS_INITIAL_WINDOW_SIZE
            door.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, 0)))
            # :method GET, :scheme https, and two literals.
            head = b"\x82\x87" + literal(b":path", b"/metrics") + literal(b":authority", b"exporter")
            door.sendall(b"".join(frame(1, 5, 1 + 2 * number, head) for number in range(32)))
            door.settimeout(1)
            while not is_over.is_set():
                door.sendall(frame(6, 0, 0, b"12345678"))
                try:
                    if not door.recv(65536):
                        return
                except TimeoutError:
                    pass
                time.sleep(1)

    return [lambda: forever(client, is_over)] * 10


def nobody(target, is_over):
    """No attack, for comparison."""
    return []


def pages(target, is_over):
    """100 requests of status pages a second: four of five of the list, the others of one webhook."""
    webhooks = get(f"{target.url.geturl()}/api/v1/status")["webhooks"]
    paths = [f"/webhooks/{one['environment']}/{one['webhook_id']}" for one in webhooks]

    def reader():
        door = http.client.HTTPConnection(target.url.netloc, timeout=30)
        due = time.monotonic()
        while not is_over.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            due += PAGE_READERS / PAGES_PER_SECOND
            path = "/" if random.random() < 0.8 else random.choice(paths)
            begun = time.monotonic()
            door.request("GET", path, headers={"Accept-Encoding": "gzip"})
            answer = door.getresponse()
            answer.read()
            target.read_pages.append((answer.status, time.monotonic() - begun))

    return [lambda: forever(reader, is_over)] * PAGE_READERS


def login(user, password):
    return {**SCRAPE, "Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def passwords(target, is_over):
    """200 clients that guess."""
    count = iter(range(10**9))
    return [lambda: forever(lambda: target.get("/metrics", login("scraper", f"guess-{next(count)}")), is_over)] * 200


def attack(target, name):
    """Makes an attack and returns whether the daemon withstands it."""
    headers = login("scraper", "scraper-password") if name == "passwords" else SCRAPE
    # Scrapes that do not know the password yet are what matters beside guesses.
    begin = globals()[name]
    if name != "passwords":
        plain = target.await_metrics({"Accept-Encoding": "identity"})
        size = target.get("/metrics", headers)[1]
        print(f"{name}: a scrape has {plain / 2**20:.1f} MiB, compressed {size / 2**20:.2f} MiB", flush=True)
    else:
        time.sleep(5)
    idle = target.resident()
    is_over, measured = threading.Event(), Measured(target, headers)
    for client in begin(target, is_over):
        threading.Thread(target=client, daemon=True).start()
    time.sleep(2)
    target.read_pages.clear()
    is_polled = name in ("nobody", "pages")
    polled = target.polls() if is_polled else 0
    measured.start()
    time.sleep(SECONDS)
    measured.is_over.set()
    if is_polled:
        tell_polls(target, name, polled)
    is_over.set()
    measured.join()
    time.sleep(3)
    slowest, peak = max(measured.seconds), measured.peak - idle
    print(
        f"{name}: {globals()[name].__doc__} {len(measured.seconds)} scrapes, median "
        f"{statistics.median(measured.seconds) * 1000:.0f} ms, "
        f"99 of 100 below {percentile(measured.seconds, 99) * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms, "
        f"first {measured.seconds[0] * 1000:.0f} ms, not answered with 200: {measured.others or 'none'}; memory "
        f"idle {idle:.0f} MiB, at most +{peak:.0f} MiB, 3 s later {target.resident() - idle:+.0f} MiB; "
        f"at most {measured.descriptors} descriptors",
        flush=True,
    )
    return slowest < MAX_SCRAPE_SECONDS and peak < MAX_MIB and not measured.others


def percentile(seconds, percent):
    return sorted(seconds)[len(seconds) * percent // 100]


def tell_polls(target, name, before):
    """Prints what became of polls and status pages."""
    print(f"{name}: {(target.polls() - before) * 60 / SECONDS:.0f} polls a minute")
    if answers := target.read_pages:
        seconds = [took for _, took in answers]
        others = sum(status != 200 for status, _ in answers)
        print(
            f"{name}: {len(answers) / SECONDS:.0f} pages a second, median {statistics.median(seconds) * 1000:.0f} ms, "
            f"99 of 100 below {percentile(seconds, 99) * 1000:.0f} ms, not answered with 200: {others}"
        )


def timing(target):
    """Whether the time that a wrong password takes reveals which users exist."""

    def median(user):
        seconds = []
        for number in range(15):
            begun = time.monotonic()
            target.get("/metrics", login(user, f"wrong-{number}"))
            seconds.append(time.monotonic() - begun)
        return statistics.median(seconds)

    for user in ("scraper", "cheap", "nobody"):
        print(f"passwords: a wrong password of {user} takes {median(user) * 1000:.0f} ms")


def main():
    if sys.argv[1:] == ["scenario"]:
        return scenario()
    target = Target(sys.argv[1], int(sys.argv[2]))
    outcomes = {name: attack(target, name) for name in sys.argv[3:]}
    if "passwords" in outcomes:
        timing(target)
    failed = [name for name, is_borne in outcomes.items() if not is_borne]
    if failed:
        fail(f"too slow, too large or not answered: {', '.join(failed)}")


if __name__ == "__main__":
    main()
