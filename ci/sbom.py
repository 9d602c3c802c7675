"""Prints what the program is made of, as CycloneDX 1.5: each crate with its version, licence, checksum, dependencies.

Usage: sbom.py VERSION SECONDS TARGET…     SECONDS since 1970: the time that it carries, so that two runs are equal

From cargo's own resolution for the targets, so it needs nothing to be installed. Crates that only build (macros, build
scripts) are there with the scope `excluded`.
"""

import datetime
import json
import subprocess
import sys
import tomllib
import uuid

PROGRAM = "talkover-exporter"


def resolution(target: str) -> dict:
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def purl(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def is_macro(package: dict) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


def needed(metadata: dict) -> tuple[dict[str, bool], dict[str, set[str]]]:
    """Whether each needed package is linked into the program, by id, and what each needs directly.

    Without what only the tests need.
    """
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(id for id, package in packages.items() if package["name"] == PROGRAM)
    linked: dict[str, bool] = {}
    edges: dict[str, set[str]] = {}
    waiting = [(root, True)]
    while waiting:
        id, into_program = waiting.pop()
        if linked.get(id, False) or (id in linked and not into_program):
            continue
        linked[id] = into_program
        edges[id] = set()
        for dependency in nodes[id]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]} - {"dev"}
            if kinds:
                edges[id].add(dependency["pkg"])
                runs = None in kinds and not is_macro(packages[dependency["pkg"]])
                waiting.append((dependency["pkg"], into_program and runs))
    return linked, edges


def component(package: dict, linked: bool, checksums: dict[tuple[str, str], str]) -> dict:
    described = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if linked else "excluded",
        "purl": purl(package),
    }
    if package["license"]:
        # Old manifests separate alternatives by a slash, which SPDX does not know.
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def main(version: str, seconds: str, *targets: str) -> None:
    with open("Cargo.lock", "rb") as file:
        lock = file.read()
    locked = tomllib.loads(lock.decode())["package"]
    checksums = {(one["name"], one["version"]): one["checksum"] for one in locked if "checksum" in one}
    packages, linked, edges = {}, {}, {}
    for target in targets:
        metadata = resolution(target)
        packages |= {package["id"]: package for package in metadata["packages"]}
        found, between = needed(metadata)
        for id, into_program in found.items():
            linked[id] = linked.get(id, False) or into_program
            edges.setdefault(id, set()).update(between[id])
    program = next(id for id in linked if packages[id]["name"] == PROGRAM)
    components = [component(packages[id], linked[id], checksums) for id in linked if id != program]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'{PROGRAM} {version} {lock.decode()}')}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(packages[program], True, checksums) | {"type": "application"},
        },
        "components": sorted(components, key=lambda one: one["bom-ref"]),
        "dependencies": [
            {"ref": purl(packages[id]), "dependsOn": sorted(purl(packages[to]) for to in edges[id])}
            for id in sorted(linked, key=lambda id: purl(packages[id]))
        ],
    }
    print(json.dumps(bom, indent=1))


main(*sys.argv[1:])
