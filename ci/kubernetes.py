"""Judges rendered manifests.

Usage: kubernetes.py schemas RENDERED VERSION…
           It fits the schemas of these Kubernetes and of the Prometheus operator; unknown keys are faults.
       kubernetes.py promises RENDERED CONFIG
           It keeps what the chart promises of every pod. The daemon's configuration is written to CONFIG.
       kubernetes.py bundled RENDERED DASHBOARDS
           It has the rules and dashboards of that directory, unchanged.
"""

import pathlib
import sys

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator

ROOT = "/var/lib/talkover-exporter"


def manifests(rendered: str) -> list[dict]:
    with open(rendered) as file:
        return [manifest for manifest in yaml.safe_load_all(file) if manifest]


def named(manifest: dict) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def unknown(given: object, known: object, path: str = "") -> list[str]:
    """Keys that a model has dropped: pydantic ignores what it does not know."""
    if isinstance(given, dict) and isinstance(known, dict):
        lost = [f"{path}.{key}" for key in given if key not in known]
        return lost + [x for key in given if key in known for x in unknown(given[key], known[key], f"{path}.{key}")]
    if isinstance(given, list) and isinstance(known, list):
        return [x for i, (a, b) in enumerate(zip(given, known, strict=True)) for x in unknown(a, b, f"{path}[{i}]")]
    return []


def schemas(rendered: str, *versions: str) -> None:
    kinds = []
    for manifest in manifests(rendered):
        if manifest["apiVersion"] == "monitoring.coreos.com/v1":
            model = getattr(operator, manifest["kind"]).model_validate(manifest)
            lost = unknown(manifest, model.model_dump(mode="json", by_alias=True, exclude_unset=True))
            assert not lost, f"{named(manifest)}: the operator does not know {', '.join(lost)}"
        else:
            for version in versions:
                kubernetes_validate.validate(manifest, version, strict=True)
        kinds.append(manifest["kind"])
    assert kinds, f"{rendered} is empty"
    print(f"{pathlib.Path(rendered).stem} fits Kubernetes {', '.join(versions)}: {', '.join(sorted(set(kinds)))}")


def promises(rendered: str, config: str) -> None:
    by_kind: dict[str, list[dict]] = {}
    for manifest in manifests(rendered):
        by_kind.setdefault(manifest["kind"], []).append(manifest)
    (workload,) = by_kind["StatefulSet"]
    spec = workload["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
    assert container["livenessProbe"] and container["readinessProbe"]
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == [ROOT], f"the pod can write to {writable}"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
    assert ("state" in claims) != ("state" in volumes), "the state has one place"
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes) | set(claims)
    assert "secret" in volumes["tokens"] and volumes["tokens"]["secret"]["defaultMode"] == 0o440

    # What selects pods selects this one.
    labels = spec["template"]["metadata"]["labels"].items()
    (service,) = by_kind["Service"]
    selectors = [spec["selector"]["matchLabels"], service["spec"]["selector"]]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in by_kind.get("NetworkPolicy", [])]
    budgets = by_kind.get("PodDisruptionBudget", [])
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in budgets]
    assert all(selector and selector.items() <= labels for selector in selectors), selectors
    for monitor in by_kind.get("ServiceMonitor", []):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["honorLabels"] is True
        assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert len(budgets) == (1 if spec["replicas"] > 1 else 0), "a disruption budget is for more than one replica"

    source = volumes["config"]["configMap"]["name"]
    (text,) = [one["data"]["talkover.yml"] for one in by_kind["ConfigMap"] if one["metadata"]["name"] == source]
    assert "postgres" in text or f"path: {ROOT}/" in text, "the state is not on the volume"
    pathlib.Path(config).write_text(text)


def bundled(rendered: str, dashboards: str) -> None:
    rules, panels = [], {}
    for manifest in manifests(rendered):
        if manifest["kind"] == "PrometheusRule":
            rules.append(manifest["spec"])
        elif manifest["metadata"].get("labels", {}).get("grafana_dashboard"):
            panels.update(manifest["data"])
    directory = pathlib.Path(dashboards)
    expected = [yaml.safe_load(path.read_text()) for path in sorted(directory.glob("rules/*.yml"))]
    by_group = lambda spec: spec["groups"][0]["name"]  # noqa: E731
    assert sorted(rules, key=by_group) == sorted(expected, key=by_group), "the rules are not those of the repository"
    assert panels == {f"talkover-{path.name}": path.read_text() for path in directory.glob("*.json")}


{"schemas": schemas, "promises": promises, "bundled": bundled}[sys.argv[1]](*sys.argv[2:])
