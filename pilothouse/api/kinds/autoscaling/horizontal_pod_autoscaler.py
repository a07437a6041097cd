"""HorizontalPodAutoscaler."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, UNKNOWN, UNSET, View, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, Resource
from pilothouse.kit.deferred import Deferred

_SHOWN = 2
_SOURCES = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _targets(obj: View, now: float) -> str:
    """The first metrics as `current/target`, and how many more there are."""
    metrics = at(obj, "spec", "metrics") or ()
    if not metrics:
        return NONE
    current = at(obj, "status", "currentMetrics") or ()
    shown = [_target(metric, current[i] if i < len(current) else {}) for i, metric in enumerate(metrics)]
    joined = ", ".join(shown[:_SHOWN])
    return f"{joined} + {len(shown) - _SHOWN} more..." if len(shown) > _SHOWN else joined


def _target(metric: View, status: View) -> str:
    source = _SOURCES.get(metric.get("type", ""))
    if source is None:
        return "<unknown type>"
    wanted = at(metric, source, "target") or {}
    current = at(status, source, "current") or {}
    if source in ("resource", "containerResource"):
        name = metric[source].get("name", "")
        if "averageValue" in wanted:
            return f"{name}: {current.get('averageValue', UNKNOWN)}/{wanted['averageValue']}"
        return f"{name}: {_percent(current, UNKNOWN)}/{_percent(wanted, '<auto>')}"
    if "averageValue" in wanted:
        shown = f"{current.get('averageValue', UNKNOWN)}/{wanted['averageValue']}"
        return shown if source == "pods" else f"{shown} (avg)"
    return f"{current.get('value', UNKNOWN)}/{wanted.get('value', '0')}"


def _percent(value: View, empty: str) -> str:
    return f"{value['averageUtilization']}%" if "averageUtilization" in value else empty


def _reference(obj: View, now: float) -> str:
    target = at(obj, "spec", "scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _min_pods(obj: View, now: float) -> str:
    replicas = at(obj, "spec", "minReplicas")
    return UNSET if replicas is None else str(replicas)


HORIZONTAL_POD_AUTOSCALER = Resource(
    gvr.HORIZONTAL_POD_AUTOSCALERS,
    other_versions=(gvr.HORIZONTAL_POD_AUTOSCALERS_V1,),
    short_names=("hpa",),
    categories=("all",),
    subresources=(STATUS,),
    has_generation=False,
    columns=(
        NAME,
        Column("Reference", _reference),
        Column("Targets", _targets),
        Column("MinPods", _min_pods),
        Column("MaxPods", lambda obj, now: at(obj, "spec", "maxReplicas") or 0),
        Column("Replicas", lambda obj, now: at(obj, "status", "currentReplicas") or 0),
        AGE,
    ),
    prepare_create=clears_status(gvr.HORIZONTAL_POD_AUTOSCALERS),
    validate=Deferred("pilothouse.api.validate.autoscaling", "validate_autoscaler"),
    validate_update=Deferred("pilothouse.api.validate.autoscaling", "validate_autoscaler_update"),
    validate_status_update=Deferred("pilothouse.api.validate.autoscaling", "validate_autoscaler_status_update"),
)
