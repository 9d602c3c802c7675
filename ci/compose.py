#!/usr/bin/env python3
"""Checks what no schema can check of config/compose/docker-compose.yml: that its parts refer to each other correctly.

Usage: compose.py DIRECTORY. Writes what the services mount below DIRECTORY/SERVICE, at the paths at which they see it,
so that each file can be checked where its relative paths lead. Exits with 1 and the fault if something does not fit.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

HERE = Path("config/compose")
README = Path("README.md")


def load(path):
    return yaml.safe_load(Path(path).read_text())


def demand(condition, fault):
    if not condition:
        sys.exit(f"error: {HERE}/docker-compose.yml: {fault}")


def mounts(service):
    """The files and directories that a service mounts, as (on the host, in the container); no named volumes."""
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            yield (HERE / source).resolve(), target


def names(services):
    """All names by which services are found, with the ports that their own configuration says they listen on."""
    tempo = load(HERE / "tempo.yml")
    protocols = tempo["distributor"]["receivers"]["otlp"]["protocols"]
    receivers = {int(protocol["endpoint"].rsplit(":", 1)[1]) for protocol in protocols.values()}
    ports = {"prometheus": {9090}, "alertmanager": {9093}, "tempo": {tempo["server"]["http_listen_port"], *receivers}}
    found = {name: ports.get(name, set()) for name in services}
    for service in services.values():
        networks = service.get("networks", {})
        for alias in networks.get("default", {}).get("aliases", []):
            found[alias] = {9877}
    return found


def addresses(services, copies):
    """Every address at which one part looks for another, and who does."""
    prometheus = load(copies / "prometheus/etc/prometheus/prometheus.yml")
    jobs = prometheus["scrape_configs"] + prometheus["alerting"]["alertmanagers"]
    for job in jobs:
        for group in job["static_configs"]:
            for target in group["targets"]:
                yield f"//{target}", "prometheus.yml"
    for file in copies.glob("grafana/etc/grafana/provisioning/datasources/*"):
        for source in load(file)["datasources"]:
            yield source["url"], f"the data source {source['name']}"
    for name in ("demo", "daemon"):
        yield services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"], name


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def check_labels(prometheus):
    """Every example of a scrape keeps the exporter's labels, whatever labels the target has."""
    for job in prometheus["scrape_configs"]:
        demand(job.get("honor_labels") is True, f"the job {job['job_name']} does not honor labels")
    blocks = re.findall(r"^```yaml\n(.*?)^```", README.read_text(), re.S | re.M)
    examples = [block for block in blocks if "scrape_configs" in block]
    demand(examples, "README.md has no example of a scrape")
    for example in examples:
        for job in yaml.safe_load(example)["scrape_configs"]:
            demand(job.get("honor_labels") is True, f"README.md: the job {job['job_name']} does not honor labels")


def check_grouping(alertmanager):
    """Alerts are grouped as README.md recommends."""
    recommended = re.search(r"`group_by: \[(.*?)\]`", README.read_text())[1].split(", ")
    found = alertmanager["route"]["group_by"]
    demand(found == recommended, f"alertmanager.yml groups by {found}, README.md recommends {recommended}")


def check_late_spans(tempo):
    """Spans of whatever age Tempo keeps are found by a search by time."""
    retention = seconds(tempo["compactor"]["compaction"]["block_retention"])
    search = tempo["query_frontend"]["search"]
    for name, found in {
        "ingestion_time_range_slack": tempo["storage"]["trace"]["wal"]["ingestion_time_range_slack"],
        "query_ingesters_until": search["query_ingesters_until"],
        "max_duration": search["max_duration"],
    }.items():
        demand(seconds(found) >= retention, f"tempo.yml: {name} is {found}, shorter than the blocks are kept")


def main(copies):
    compose = load(HERE / "docker-compose.yml")
    services = compose["services"]
    metadata = subprocess.run(["cargo", "pkgid"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\d+\.\d+\.\d+\S*$", metadata.strip())[0]
    for name, service in services.items():
        image = service["image"]
        demand(re.search(r":v?\d+\.\d+\.\d+$", image), f"{name} pins no version: {image}")
        demand("build" not in service or image.endswith(f":{version}"), f"{name} is not of version {version}: {image}")
        for source, target in mounts(service):
            demand(source.exists(), f"{name} mounts {source}, which is not there")
            copy = copies / name / target.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)

    check_labels(load(copies / "prometheus/etc/prometheus/prometheus.yml"))
    check_grouping(load(copies / "alertmanager/etc/alertmanager/alertmanager.yml"))
    check_late_spans(load(HERE / "tempo.yml"))
    known = names(services)
    for address, who in addresses(services, copies):
        url = urlsplit(address)
        demand(url.port in known.get(url.hostname, ()), f"{who} looks for {address}, where nothing listens")
    grafana = copies / "grafana"
    for file in grafana.glob("etc/grafana/provisioning/dashboards/*"):
        for provider in load(file)["providers"]:
            path = provider["options"]["path"]
            demand(list(grafana.glob(f"{path.lstrip('/')}/*.json")), f"no dashboards are mounted at {path}")
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    demand((grafana / home.lstrip("/")).is_file(), f"no dashboard is mounted at {home}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
