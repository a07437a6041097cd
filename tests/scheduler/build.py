"""Nodes and pods for tests of the scheduler."""

from __future__ import annotations

import itertools
from typing import Any

from pilothouse.scheduler.columns import Columns
from pilothouse.scheduler.pod import PodInfo, read_pod

_uids = itertools.count()


def node(
    name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", zone: str = "", **parts: Any
) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, **parts.pop("labels", {})}
    if zone:
        labels["topology.kubernetes.io/zone"] = zone
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **parts.pop("extended", {})}}
    status["images"] = parts.pop("images", [])
    return {"metadata": {"name": name, "labels": labels}, "spec": parts, "status": status}


def pod(
    name: str = "", *, cpu: str = "", memory: str = "", labels: dict[str, str] | None = None, **spec: Any
) -> PodInfo:
    number = next(_uids)
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    containers = [{"name": "main", "image": "web", "resources": {"requests": requests}, **spec.pop("container", {})}]
    metadata = {"name": name or f"pod-{number}", "namespace": "default", "uid": f"uid-{number}", "labels": labels or {}}
    return read_pod({"metadata": metadata, "spec": {"containers": containers, **spec}})


def columns(*nodes: dict[str, Any]) -> Columns:
    made = Columns()
    for each in nodes:
        made.put_node(each)
    return made
