#!/usr/bin/env python3
"""Judges config/compose/docker-compose.yml where no schema can: that its parts name each other rightly.

Usage: compose.py DIRECTORY. Writes what the services mount below DIRECTORY/SERVICE, at the paths at which they see it, so that each
file can be checked where its relative paths lead. Exits with 1 and the fault where something does not fit.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

HERE = Path("config/compose")


def load(path):
    return yaml.safe_load(Path(path).read_text())


def demand(condition, fault):
    if not condition:
        sys.exit(f"error: {HERE}/docker-compose.yml: {fault}")


def mounts(service):
    """The files and directories that a service mounts, as (on the host, in the container); named volumes are left out."""
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
