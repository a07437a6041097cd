"""Objects from one version of their kind to another.

Two built-in kinds are served in several forms: HorizontalPodAutoscaler in `autoscaling/v1` and `v2`, and Event in `v1` and
`events.k8s.io/v1`. Conversion loses nothing: what the older form has no field for travels in annotations, under the names upstream gives
them. Source: upstream `pkg/apis/autoscaling/v1/conversion.go`, `pkg/apis/events/v1/conversion.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_ROUND_TRIP = frozenset({_METRICS, _CURRENT_METRICS, _CONDITIONS, _BEHAVIOR})

_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "source": "deprecatedSource",
    "message": "note",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_FIELDS_BACK = {new: old for old, new in _EVENT_FIELDS.items()}


def convert(obj: Mapping[str, Any], source: GVR, target: GVR) -> Object:
    """`obj`, which is at version `source`, at version `target`; a new object that shares parts with the old one.

    Raises ValueError for a pair of versions that has no conversion.
    """
    match (source, target):
        case (gvr.CORE_EVENTS, gvr.EVENTS):
            converted = _renamed(obj, _EVENT_FIELDS)
        case (gvr.EVENTS, gvr.CORE_EVENTS):
            converted = _renamed(obj, _EVENT_FIELDS_BACK)
        case (gvr.HORIZONTAL_POD_AUTOSCALERS, gvr.HORIZONTAL_POD_AUTOSCALERS_V1):
            converted = _autoscaler_to_v1(obj)
        case (gvr.HORIZONTAL_POD_AUTOSCALERS_V1, gvr.HORIZONTAL_POD_AUTOSCALERS):
            converted = _autoscaler_from_v1(obj)
        case _ if source == target:
            return dict(obj)
        case _:
            raise ValueError(f"no conversion from {source.api_version} to {target.api_version} {target.kind}")
    return {**converted, "apiVersion": target.api_version, "kind": target.kind}


def _renamed(obj: Mapping[str, Any], names: Mapping[str, str]) -> Object:
    return {names.get(key, key): value for key, value in obj.items()}


# HorizontalPodAutoscaler


def _is_cpu_utilization(metric: Mapping[str, Any], where: str) -> bool:
    resource = metric.get("resource") or {}
    return (
        metric.get("type") == "Resource"
        and resource.get("name") == "cpu"
        and (resource.get(where) or {}).get("averageUtilization") is not None
    )


def _autoscaler_to_v1(obj: Mapping[str, Any]) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    carried: dict[str, Any] = {}
    metrics = spec.pop("metrics", None) or []
    cpu = next((metric for metric in metrics if _is_cpu_utilization(metric, "target")), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    if others := [metric for metric in metrics if not _is_cpu_utilization(metric, "target")]:
        carried[_METRICS] = [_metric_to_v1(metric) for metric in others]
    if (behavior := spec.pop("behavior", None)) is not None:
        carried[_BEHAVIOR] = _capitalized(behavior)
    if current := status.pop("currentMetrics", None):
        carried[_CURRENT_METRICS] = [_current_to_v1(metric) for metric in current]
        for metric in current:
            if _is_cpu_utilization(metric, "current"):
                utilization = metric["resource"]["current"]["averageUtilization"]
                status["currentCPUUtilizationPercentage"] = utilization
    if conditions := status.pop("conditions", None):
        carried[_CONDITIONS] = conditions
    annotations = {key: orjson.dumps(value).decode() for key, value in carried.items()}
    status.setdefault("currentReplicas", 0)
    return {**obj, "metadata": _with_annotations(obj["metadata"], annotations), "spec": spec, "status": status}


def _autoscaler_from_v1(obj: Mapping[str, Any]) -> Object:
    annotations = obj["metadata"].get("annotations") or {}
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics = [_metric_from_v1(metric) for metric in _carried_list(annotations, _METRICS)]
    if (percentage := spec.pop("targetCPUUtilizationPercentage", None)) is not None:
        target = {"type": "Utilization", "averageUtilization": percentage}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    behavior = _carried(annotations, _BEHAVIOR)
    if isinstance(behavior, dict) and behavior:
        spec["behavior"] = _uncapitalized(behavior)
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    percentage = status.pop("currentCPUUtilizationPercentage", None)
    if current := [_current_from_v1(metric) for metric in _carried_list(annotations, _CURRENT_METRICS)]:
        status["currentMetrics"] = current
    elif percentage is not None:
        measured = {"name": "cpu", "current": {"averageUtilization": percentage}}
        status["currentMetrics"] = [{"type": "Resource", "resource": measured}]
    if conditions := _carried_list(annotations, _CONDITIONS):
        status["conditions"] = conditions
    return {**obj, "metadata": _with_annotations(obj["metadata"], {}), "spec": spec, "status": status}


def _with_annotations(metadata: Mapping[str, Any], added: Mapping[str, str]) -> Object:
    """The metadata with `added` for all annotations that carry a newer form."""
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _ROUND_TRIP}
    annotations = {**kept, **added}
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**rest, "annotations": annotations} if annotations else rest


def _carried(annotations: Mapping[str, str], key: str) -> Any:
    """What an annotation carries; None if there is none, or what anybody wrote there cannot be read."""
    try:
        return orjson.loads(annotations[key]) if key in annotations else None
    except orjson.JSONDecodeError:
        return None


def _carried_list(annotations: Mapping[str, str], key: str) -> list[Any]:
    found = _carried(annotations, key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


_MEASURES = {
    "external": {"value": "targetValue", "averageValue": "targetAverageValue"},
    "object": {"averageValue": "averageValue", "value": "targetValue"},
    "pods": {"averageValue": "targetAverageValue"},
    "resource": {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"},
    "containerResource": {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"},
}
"""How v1 calls the parts of a metric's target, by the metric's source. The first that is there is the target's type."""
_CURRENT = {
    "external": {"value": "currentValue", "averageValue": "currentAverageValue"},
    "object": {"value": "currentValue", "averageValue": "averageValue"},
    "pods": {"averageValue": "currentAverageValue"},
    "resource": {"averageUtilization": "currentAverageUtilization", "averageValue": "currentAverageValue"},
    "containerResource": {"averageUtilization": "currentAverageUtilization", "averageValue": "currentAverageValue"},
}
_TARGET_TYPES = {"value": "Value", "averageValue": "AverageValue", "averageUtilization": "Utilization"}


def _metric_to_v1(metric: Mapping[str, Any]) -> Object:
    return _flattened(metric, "target", _MEASURES)


def _current_to_v1(metric: Mapping[str, Any]) -> Object:
    return _flattened(metric, "current", _CURRENT)


def _flattened(metric: Mapping[str, Any], part: str, measures: Mapping[str, Mapping[str, str]]) -> Object:
    flat: Object = {"type": metric.get("type", "")}
    for source, names in measures.items():
        found = metric.get(source)
        if found is None:
            continue
        values = found.get(part) or {}
        inner: Object = {names[key]: values[key] for key in names if values.get(key) is not None}
        for key in ("name", "container"):
            if key in found:
                inner[key] = found[key]
        identifier = found.get("metric") or {}
        if "name" in identifier:
            inner["metricName"] = identifier["name"]
        if "selector" in identifier:
            inner["metricSelector" if source == "external" else "selector"] = identifier["selector"]
        if "describedObject" in found:
            inner["target"] = found["describedObject"]
        flat[source] = inner
    return flat


def _metric_from_v1(flat: Mapping[str, Any]) -> Object:
    return _unflattened(flat, "target", _MEASURES)


def _current_from_v1(flat: Mapping[str, Any]) -> Object:
    return _unflattened(flat, "current", _CURRENT)


def _unflattened(flat: Mapping[str, Any], part: str, measures: Mapping[str, Mapping[str, str]]) -> Object:
    metric: Object = {"type": flat.get("type", "")}
    for source, names in measures.items():
        found = flat.get(source)
        if not isinstance(found, dict):
            continue
        values: Object = {key: found[name] for key, name in names.items() if found.get(name) is not None}
        if part == "target":
            values["type"] = next((_TARGET_TYPES[key] for key in names if key in values), "")
        inner: Object = {part: values}
        for key in ("name", "container"):
            if key in found:
                inner[key] = found[key]
        if "metricName" in found:
            selector = found.get("metricSelector", found.get("selector"))
            inner["metric"] = {"name": found["metricName"], **({} if selector is None else {"selector": selector})}
        if source == "object" and "target" in found:
            inner["describedObject"] = found["target"]
        metric[source] = inner
    return metric


def _capitalized(value: Any) -> Any:
    """Field names as upstream's annotation has them, which is written from a type without JSON names."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: _capitalized(item) for key, item in value.items()}
    return [_capitalized(item) for item in value] if isinstance(value, list) else value


def _uncapitalized(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _uncapitalized(item) for key, item in value.items() if item is not None}
    return [_uncapitalized(item) for item in value] if isinstance(value, list) else value
