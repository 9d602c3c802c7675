"""The load that ci/churn puts on the daemon, and how its memory develops.

churn.py scenario                              prints a world of 50 webhooks
churn.py http://ADDRESS PID CONFIGURATION MINUTES
"""

import json
import statistics
import sys
import time
import urllib.error
import urllib.request

from servers import fail, read

# Of the median, from the second third to the last.
MAX_GROWTH = 0.03


def scenario():
    """Soon as large as it gets: it is settled within two minutes, and has all its series after a few."""
    webhooks = [
        {
            "id": f"webhook-{number}",
            "name": f"Webhook {number}",
            "url": "https://hooks.example.com/",
            "owner": {"type": "agent", "id": f"agent-{number % 5}", "name": f"Agent {number % 5}"},
            "max_retries": 2,
            "rate": 0.5,
            "failures": {"probability": 0.5, "connection": 0.5, "statuses": [{"status": 500}]},
        }
        for number in range(50)
    ]
    world = {
        "rate_limit_per_minute": 100000,
        "history": "60s",
        "retention": "10m",
        "retries": {"first": "2s", "factor": 1, "max": "2s"},
        "webhooks": webhooks,
    }
    print(json.dumps(world, indent=1))


def resident(pid):
    """Its memory in MiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024


def reload(url, configuration, number):
    """Exchanges the loop of the environment: a setting of it differs each time."""
    with open(configuration) as file:
        text = file.read()
    before, after = f"lookback: {60 - (number + 1) % 2}s", f"lookback: {60 - number % 2}s"
    text = text.replace(", lookback: 1m,", f", {after},").replace(f", {before},", f", {after},")
    with open(configuration, "w") as file:
        file.write(text)
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", method="POST"), timeout=30).read()
    except urllib.error.HTTPError as error:
        fail(f"not reloaded: {error.read().decode()}")


def value(text, name):
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def main():
    if sys.argv[1:] == ["scenario"]:
        return scenario()
    url, pid, configuration, minutes = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    deadline = time.monotonic() + 60
    while True:
        try:
            read(f"{url}/-/healthy")
            break
        except OSError:
            if time.monotonic() > deadline:
                fail("the daemon does not start")
            time.sleep(0.2)
    begun, reloads, samples = time.monotonic(), 0, []
    while (elapsed := time.monotonic() - begun) < minutes * 60:
        reload(url, configuration, reloads)
        reloads += 1
        scrape = read(f"{url}/metrics")
        read(url)
        read(f"{url}/api/v1/status")
        memory = resident(pid)
        samples.append(memory)
        if reloads % 12 == 1:
            queued = value(scrape, "talkover_exporter_span_queue_length")
            series = sum(not line.startswith("#") for line in scrape.splitlines())
            counts = f"{reloads} reloads, {series} series, {queued:.0f} spans queued"
            print(f"{elapsed / 60:5.1f} min: {memory:.1f} MiB, {counts}", flush=True)
        time.sleep(5)
    third = len(samples) // 3
    before, after = statistics.median(samples[third : 2 * third]), statistics.median(samples[2 * third :])
    print(f"median {before:.1f} MiB in the second third, {after:.1f} MiB in the last; {reloads} reloads")
    if after > before * (1 + MAX_GROWTH):
        fail(f"memory has grown from {before:.1f} to {after:.1f} MiB")


if __name__ == "__main__":
    main()
