"""Splits what Helm has rendered into the manifests of deploy/kustomize, and removes what only Helm needs.

Usage: manifests.py RENDERED DIRECTORY
"""

import pathlib
import sys

import yaml

HEAD = "# Written by ci/manifests from the chart. Change that, or patch this in an overlay.\n"
HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


class Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a difference can be read."""


def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Dumper.add_representer(str, text)


def cleaned(manifest: dict) -> dict:
    """The namespace is the overlay's. A checksum of the configuration would be wrong once an overlay changes it."""
    metadata = manifest["metadata"]
    del metadata["namespace"]
    for label in HELM_LABELS:
        del metadata["labels"][label]
    if manifest["kind"] == "StatefulSet":
        del manifest["spec"]["template"]["metadata"]["annotations"]["checksum/start"]
    return manifest


def write(path: pathlib.Path, manifests: list[dict]) -> None:
    documents = yaml.dump_all(manifests, Dumper=Dumper, sort_keys=False, width=120, explicit_start=True)
    path.write_text(HEAD + documents)


def main(rendered: str, directory: str) -> None:
    with open(rendered) as file:
        manifests = [cleaned(manifest) for manifest in yaml.safe_load_all(file) if manifest]
    base, monitoring = [], []
    target = pathlib.Path(directory)
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap":
            (target / "base/talkover.yml").write_text(manifest["data"]["talkover.yml"])
        elif manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            monitoring.append(manifest)
        else:
            base.append(manifest)
    write(target / "base/exporter.yaml", base)
    write(target / "monitoring/monitoring.yaml", monitoring)


main(*sys.argv[1:])
