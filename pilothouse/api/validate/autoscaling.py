"""HorizontalPodAutoscalers of `autoscaling/v2`. Source: `pkg/apis/autoscaling/validation`."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import names, quantity
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.resources import check_container_resource_name
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_name,
    check_not_negative,
    check_not_negative_quantity,
    check_required_name,
)

_SOURCES: Mapping[str, str] = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
"""The field of a metric by its type; of several fields the first here is the one that counts."""
_LONGEST_WINDOW_S, _LONGEST_PERIOD_S = 3600, 1800
_SPEC = Path("spec")


def validate_autoscaler(autoscaler: Part) -> list[FieldError]:
    errors: Errors = []
    spec = autoscaler.get("spec") or {}
    low, high, metrics = spec.get("minReplicas"), spec.get("maxReplicas", 0), spec.get("metrics") or ()
    if low is not None and low < 1:
        errors.append(invalid(_SPEC.child("minReplicas"), low, "must be greater than or equal to 1"))
    if high == 0:
        errors.append(required(_SPEC.child("maxReplicas"), "must be set and greater than 0"))
    elif high < 0:
        errors.append(invalid(_SPEC.child("maxReplicas"), high, "must be greater than or equal to 1"))
    if low is not None and high < low:
        errors.append(invalid(_SPEC.child("maxReplicas"), high, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    _check_reference(target, _SPEC.child("scaleTargetRef"), errors)
    if "resourceVersion" not in autoscaler["metadata"]:
        _check_group(target, errors)
    for i, metric in enumerate(metrics):
        _check_metric(metric, _SPEC.child("metrics").index(i), errors)
    if low == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        errors.append(field_forbidden(_SPEC.child("metrics"), text))
    for field in ("scaleUp", "scaleDown"):
        if (rules := (spec.get("behavior") or {}).get(field)) is not None:
            _check_rules(rules, _SPEC.child("behavior", field), errors)
    return errors


def validate_autoscaler_update(new: Part, old: Part) -> list[FieldError]:
    """A target without a group of its API may stay."""
    now, then = ((one.get("spec") or {}).get("scaleTargetRef") or {} for one in (new, old))
    errors: Errors = []
    if any(now.get(field, "") != then.get(field, "") for field in ("apiVersion", "kind")):
        _check_group(now, errors)
    return errors


def _check_group(target: Part, errors: Errors) -> None:
    """All that can be scaled has one, but for the oldest."""
    version = target.get("apiVersion", "")
    if not version.rpartition("/")[0] and target.get("kind") != "ReplicationController":
        path = _SPEC.child("scaleTargetRef", "apiVersion")
        errors.append(invalid(path, version, "apiVersion must specify API group"))


def validate_autoscaler_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    for field in ("currentReplicas", "desiredReplicas"):
        check_not_negative(new.get("status") or {}, field, Path("status"), errors)
    return errors


def _check_reference(reference: Part, path: Path, errors: Errors) -> None:
    check_required_name(names.path_segment, reference, "kind", path, errors)
    check_required_name(names.path_segment, reference, "name", path, errors)
    version = reference.get("apiVersion", "")
    if version.count("/") > 1:
        text = f"unexpected GroupVersion string: {version}"
        errors.append(invalid(path.child("apiVersion"), version, text))


def _check_rules(rules: Part, path: Path, errors: Errors) -> None:
    window, chosen = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    here = path.child("stabilizationWindowSeconds")
    if window is not None and window < 0:
        errors.append(invalid(here, window, "must be greater than or equal to zero"))
    if window is not None and window > _LONGEST_WINDOW_S:
        errors.append(invalid(here, window, f"must be less than or equal to {_LONGEST_WINDOW_S}"))
    if chosen is not None and chosen not in ("Disabled", "Max", "Min"):
        errors.append(not_supported(path.child("selectPolicy"), chosen, ("Disabled", "Max", "Min")))
    policies = rules.get("policies") or ()
    if not policies:
        errors.append(required(path.child("policies"), "must specify at least one Policy"))
    for i, policy in enumerate(policies):
        here = path.child("policies").index(i)
        if policy.get("type") not in ("Pods", "Percent"):
            errors.append(not_supported(here.child("type"), policy.get("type", ""), ("Percent", "Pods")))
        for field in ("value", "periodSeconds"):
            if policy.get(field, 0) <= 0:
                errors.append(invalid(here.child(field), policy.get(field, 0), "must be greater than zero"))
        if policy.get("periodSeconds", 0) > _LONGEST_PERIOD_S:
            text = f"must be less than or equal to {_LONGEST_PERIOD_S}"
            errors.append(invalid(here.child("periodSeconds"), policy["periodSeconds"], text))
    if "tolerance" in rules:
        check_not_negative_quantity(rules["tolerance"], path.child("tolerance"), errors)


def _check_metric(metric: Part, path: Path, errors: Errors) -> None:
    kind = metric.get("type", "")
    if not kind:
        errors.append(required(path.child("type"), "must specify a metric source type"))
    told = len(errors)
    present = [field for field in _SOURCES.values() if field in metric]
    if present:
        _check_source(present[0], metric[present[0]], path.child(present[0]), errors)
    expected = _SOURCES.get(kind, "")
    if not expected:
        errors.append(not_supported(path.child("type"), kind, sorted(_SOURCES)))
        # Told before and after what the metric has.
        errors.insert(told, not_supported(path.child("type"), kind, sorted(_SOURCES)))
    elif expected not in metric:
        errors.append(required(path.child(expected), "must populate information for the given metric source"))
    if len(present) != 1:
        text = "must populate the given metric source only"
        errors.extend(field_forbidden(path.child(field), text) for field in present if field != expected)


def _check_source(field: str, source: Part, path: Path, errors: Errors) -> None:
    target, here = source.get("target") or {}, path.child("target")
    if field in ("resource", "containerResource"):
        _check_resource(field, source, path, errors)
        _check_target(target, here, errors)
        if "averageUtilization" not in target and "averageValue" not in target:
            text = "must set either a target raw value or a target utilization"
            errors.append(required(here.child("averageUtilization"), text))
        if "averageUtilization" in target and "averageValue" in target:
            text = "may not set both a target raw value and a target utilization"
            errors.append(field_forbidden(here.child("averageValue"), text))
        return
    if field == "object":
        _check_reference(source.get("describedObject") or {}, path.child("describedObject"), errors)
    name = (source.get("metric") or {}).get("name", "")
    if not name:
        errors.append(required(path.child("metric", "name"), "must specify a metric name"))
    else:
        check_name(names.path_segment, name, path.child("metric", "name"), errors)
    _check_target(target, here, errors)
    if field == "pods":
        if "averageValue" not in target:
            text = "must specify a positive target averageValue"
            errors.append(required(here.child("averageValue"), text))
        return
    if "value" not in target and "averageValue" not in target:
        external = "must set either a target value for metric or a per-pod target"
        text = external if field == "external" else "must set either a target value or averageValue"
        errors.append(required(here.child("averageValue"), text))
    if field == "external" and "value" in target and "averageValue" in target:
        text = "may not set both a target value for metric and a per-pod target"
        errors.append(field_forbidden(here.child("value"), text))


def _check_resource(field: str, source: Part, path: Path, errors: Errors) -> None:
    name, container = source.get("name", ""), source.get("container", "")
    if not name:
        errors.append(required(path.child("name"), "must specify a resource name"))
    if field == "resource":
        return
    if name:
        check_container_resource_name(name, path.child("name"), errors)
    if not container:
        errors.append(required(path.child("container"), "must specify a container"))
    else:
        check_name(names.dns_label, container, path.child("container"), errors)


def _check_target(target: Part, path: Path, errors: Errors) -> None:
    kind = target.get("type", "")
    if not kind:
        errors.append(required(path.child("type"), "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        text = "must be either Utilization, Value, or AverageValue"
        errors.append(invalid(path.child("type"), kind, text))
    for field in ("value", "averageValue"):
        if field in target and quantity.to_milli(target[field]) <= 0:
            errors.append(invalid(path.child(field), target[field], "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid(path.child("averageUtilization"), utilization, "must be greater than 0"))
