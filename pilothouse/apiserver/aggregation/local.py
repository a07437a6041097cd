"""The APIServices of the groups that this server serves itself: made and kept by it, so that discovery has one list of all groups.

Source: `pkg/controlplane/apiserver/aggregator.go`, `cmd/kube-apiserver/app/aggregator.go`, `pkg/controlplane/controller/crdregistration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.meta import Object

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
AT_START = "onstart"
"""As the label's value: made when the server starts, afterwards the administrator's."""
ALWAYS = "true"
"""As the label's value: kept as it should be, and removed with its group."""
CUSTOM_PRIORITIES = (1000, 100)

_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "storagemigration.k8s.io": 15800,
}
_VERSIONS = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1beta2"): 15,
    ("resource.k8s.io", "v1beta1"): 9,
}
_STABLE, _UNSTABLE = 15, 9


def name_of(group: str, version: str) -> str:
    """`v1.apps`; `v1.` for the core group."""
    return f"{version}.{group}"


def priorities(group: str, version: str) -> tuple[int, int]:
    """Of the group and of the version within it; a group that upstream does not know comes last."""
    stable = _STABLE if version.removeprefix("v").isdigit() else _UNSTABLE
    return _GROUPS.get(group, 15700), _VERSIONS.get((group, version), stable)


def local_service(group: str, version: str, *, managed: str) -> Object:
    """The APIService of a group version that this server serves. `managed` is AT_START or ALWAYS."""
    group_priority, version_priority = priorities(group, version) if managed == AT_START else CUSTOM_PRIORITIES
    spec: Object = {"version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority}
    if group:
        spec["group"] = group
    return {
        "apiVersion": gvr.API_SERVICES.api_version,
        "kind": gvr.API_SERVICES.kind,
        "metadata": {"name": name_of(group, version), "labels": {AUTOMANAGED: managed}},
        "spec": spec,
    }


def managed_as(service: Mapping[str, Any]) -> str:
    """AT_START, ALWAYS, or empty for an APIService that is not this server's."""
    return str((service["metadata"].get("labels") or {}).get(AUTOMANAGED, ""))
