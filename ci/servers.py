"""How the scripts beside this one ask the servers on this machine, and give up."""

import json
import sys
import urllib.parse
import urllib.request


def fail(message):
    sys.exit(f"error: {message}")


def read(url, headers=None):
    """What a server answers, as text."""
    # Loopback only: whatever proxy this machine uses has no part in it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers or {}), timeout=30) as answer:
        return answer.read().decode()


def get(url, headers=None):
    """What a server answers in JSON."""
    return json.loads(read(url, headers))


def query(server, promql):
    """The result of an instant query, a list of series."""
    return get(f"{server}/api/v1/query?" + urllib.parse.urlencode({"query": promql}))["data"]["result"]
