"""Kinds that limit or rank others: PodDisruptionBudget, PriorityClass, RuntimeClass, LimitRange, ResourceQuota.

Source: `pkg/apis/{policy,scheduling,node,core}/validation`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import names, quantity
from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.metadata import check_conditions, check_label_selector, check_labels
from pilothouse.api.validate.resources import (
    allows_overcommit,
    check_amount,
    check_container_resource_name,
    check_quota_resource_name,
    check_requirements,
    check_resource_name,
    is_quota_name,
)
from pilothouse.api.validate.scheduling import check_tolerations
from pilothouse.api.validate.shown import label_selector, shown
from pilothouse.api.validate.values import (
    IMMUTABLE,
    Errors,
    Part,
    check_immutable_field,
    check_int_or_percent,
    check_name,
    check_not_negative,
    check_not_over_100_percent,
    check_required_choice,
    check_required_name,
)

_SPEC = Path("spec")
_ROOT = Path()
HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_SCOPES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"),
        ("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"),
    ),
    "BestEffort": ("pods",),
    "VolumeAttributesClass": ("persistentvolumeclaims", "requests.storage"),
}
"""The resources that a scope of a quota can be applied to."""
_CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_EXISTS_ONLY = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


_BUDGET = {"MinAvailable": None, "Selector": None, "MaxUnavailable": None, "UnhealthyPodEvictionPolicy": None}

_TOLERATION = {"Key": "", "Operator": "", "Value": "", "Effect": "", "TolerationSeconds": None}
_SCOPE_SELECTOR = {"MatchExpressions": [{"ScopeName": "", "Operator": "", "Values": None}]}


def validate_disruption_budget(budget: Part) -> list[FieldError]:
    errors: Errors = []
    spec = budget.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        told = {**spec, "selector": label_selector(spec.get("selector"))}
        errors.append(invalid(_SPEC, shown(told, _BUDGET), "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if field in spec:
            check_int_or_percent(spec[field], _SPEC.child(field), errors)
            check_not_over_100_percent(spec[field], _SPEC.child(field), errors)
    check_label_selector(spec.get("selector"), _SPEC.child("selector"), errors)
    eviction = spec.get("unhealthyPodEvictionPolicy")
    if eviction is not None and eviction not in ("AlwaysAllow", "IfHealthyBudget"):
        path = _SPEC.child("unhealthyPodEvictionPolicy")
        errors.append(not_supported(path, eviction, ("AlwaysAllow", "IfHealthyBudget")))
    return errors


def validate_disruption_budget_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    status, path = new.get("status") or {}, Path("status")
    check_conditions(status.get("conditions"), path.child("conditions"), errors)
    for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        check_not_negative(status, field, path, errors)
    return errors


def validate_priority_class(priority_class: Part) -> list[FieldError]:
    errors: Errors = []
    name, value = priority_class["metadata"].get("name", ""), priority_class.get("value", 0)
    if name.startswith("system-"):
        problem = _system_priority_fault(name, value, bool(priority_class.get("globalDefault")))
        if problem:
            text = f"priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            errors.append(field_forbidden(Path("metadata.name"), text))
    elif value > HIGHEST_USER_PRIORITY:
        text = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        errors.append(field_forbidden(Path("value"), text))
    if "preemptionPolicy" in priority_class:
        check_required_choice(priority_class, "preemptionPolicy", ("PreemptLowerPriority", "Never"), _ROOT, errors)
    return errors


def _system_priority_fault(name: str, value: int, is_default: bool) -> str:
    if name not in _SYSTEM_PRIORITIES:
        return f"{name} is not a known system priority class"
    if value != _SYSTEM_PRIORITIES[name]:
        return f"value of {name} PriorityClass must be {_SYSTEM_PRIORITIES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def validate_priority_class_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    if new.get("value", 0) != old.get("value", 0):
        errors.append(field_forbidden(Path("value"), "may not be changed in an update."))
    check_immutable_field(new, old, "preemptionPolicy", _ROOT, errors)
    return errors


def validate_runtime_class(runtime_class: Part) -> list[FieldError]:
    errors: Errors = []
    check_required_name(names.dns_label, runtime_class, "handler", _ROOT, errors)
    if overhead := (runtime_class.get("overhead") or {}).get("podFixed"):
        check_requirements({"limits": overhead}, (), Path("overhead"), errors)
    scheduling = runtime_class.get("scheduling")
    if scheduling is not None:
        check_labels(scheduling.get("nodeSelector") or {}, Path("scheduling.nodeSelector"), errors)
        tolerations, path = scheduling.get("tolerations") or (), Path("scheduling.tolerations")
        check_tolerations(tolerations, path, errors)
        seen: set[tuple[str, ...]] = set()
        for i, toleration in enumerate(tolerations):
            key = tuple(toleration.get(field, "") for field in ("key", "operator", "value", "effect"))
            if key in seen:
                errors.append(duplicate(path.index(i), shown(toleration, _TOLERATION)))
            seen.add(key)
    return errors


def validate_runtime_class_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    check_immutable_field(new, old, "handler", _ROOT, errors)
    return errors


def validate_limit_range(limit_range: Part) -> list[FieldError]:
    errors: Errors = []
    seen: set[str] = set()
    for i, limit in enumerate((limit_range.get("spec") or {}).get("limits") or ()):
        path, kind = _SPEC.child("limits").index(i), limit.get("type", "")
        check_name(names.label_key, kind, path.child("type"), errors)
        if "/" not in kind and kind not in ("Pod", "Container", "PersistentVolumeClaim") and not names.label_key(kind):
            errors.append(invalid(path.child("type"), kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            errors.append(duplicate(path.child("type"), kind))
        seen.add(kind)
        _check_limit_names(limit, kind, path, errors)
        fields = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
        for name in dict.fromkeys(name for field in fields for name in limit.get(field) or ()):
            _check_limit(limit, name, path, errors)
    return errors


def _check_limit_names(limit: Part, kind: str, path: Path, errors: Errors) -> None:
    check = check_container_resource_name if kind in ("Pod", "Container") else check_resource_name
    for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        amounts = limit.get(field) or {}
        if kind == "Pod" and amounts and field in ("default", "defaultRequest"):
            errors.append(field_forbidden(path.child(field), "may not be specified when `type` is 'Pod'"))
            continue
        for name in amounts:
            check(name, path.child(field).key(name), errors)
    if kind == "PersistentVolumeClaim" and not any("storage" in (limit.get(field) or ()) for field in ("min", "max")):
        text = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(path.child("limits"), text))


def _check_limit(limit: Part, name: str, path: Path, errors: Errors) -> None:
    """That the amounts for one resource do not contradict each other."""

    def amount(field: str) -> quantity.Quantity | None:
        value = (limit.get(field) or {}).get(name)
        return None if value is None else quantity.parse(str(value))

    low, high, default, request = amount("min"), amount("max"), amount("default"), amount("defaultRequest")
    for field, one, what, other, than in (
        ("min", low, "min value", high, "max value"),
        ("defaultRequest", low, "min value", request, "default request value"),
        ("defaultRequest", request, "default request value", high, "max value"),
        ("defaultRequest", request, "default request value", default, "default limit value"),
        ("default", low, "min value", default, "default value"),
        ("default", default, "default value", high, "max value"),
    ):
        if one is not None and other is not None and one > other:
            shown = {"min": low, "defaultRequest": request, "default": low if one is low else high}[field]
            errors.append(
                invalid(path.child(field).key(name), str(shown), f"{what} {one} is greater than {than} {other}")
            )
    ratio, here = amount("maxLimitRequestRatio"), path.child("maxLimitRequestRatio").key(name)
    if ratio is not None and ratio < quantity.Quantity.of(1):
        errors.append(invalid(here, str(ratio), f"ratio {ratio} is less than 1"))
    if ratio is not None and low and high is not None and ratio.nano / 10**9 > high.nano / low.nano:
        text = f"ratio {ratio} is greater than max/min = {high.nano / low.nano:f}"
        errors.append(invalid(here, str(ratio), text))
    if not allows_overcommit(name) and default is not None and request is not None and default != request:
        text = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errors.append(invalid(path.child("defaultRequest").key(name), str(request), text))


def validate_resource_quota(quota: Part) -> list[FieldError]:
    errors: Errors = []
    spec = quota.get("spec") or {}
    hard, scopes = spec.get("hard") or {}, spec.get("scopes") or []
    _check_quota_amounts(hard, _SPEC.child("hard"), errors)
    path = _SPEC.child("scopes")
    for scope in scopes:
        _check_scope(scope, scopes, hard, path, path, scopes, errors)
    _check_conflicts(scopes, path, scopes, errors)
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    path = _SPEC.child("scopeSelector", "matchExpressions")
    for expression in expressions:
        scope, operator = expression.get("scopeName", ""), expression.get("operator", "")
        values = expression.get("values") or []
        told = shown(spec["scopeSelector"], _SCOPE_SELECTOR)
        _check_scope(scope, scope, hard, path.child("scopeName"), path, told, errors)
        if scope not in ("PriorityClass", "VolumeAttributesClass") and scope in _SCOPES and operator != "Exists":
            errors.append(invalid(path.child("operator"), operator, _EXISTS_ONLY))
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(required(path.child("values"), text))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(invalid(path.child("values"), values, text))
        else:
            errors.append(invalid(path.child("operator"), operator, "not a valid selector operator"))
    _check_conflicts([each.get("scopeName", "") for each in expressions], path, scopes, errors)
    return errors


def _check_quota_amounts(amounts: Mapping[str, str], path: Path, errors: Errors) -> None:
    for name, amount in amounts.items():
        check_quota_resource_name(name, path.key(name), errors)
        check_amount(name, amount, path.key(name), errors)


def _check_scope(
    scope: str, shown: object, hard: Mapping[str, str], path: Path, of_list: Path, whole: object, errors: Errors
) -> None:
    if scope not in _SCOPES:
        errors.append(invalid(path, shown, "unsupported scope"))
        return
    for name in sorted(hard):
        if is_quota_name(name) and name not in _SCOPES[scope]:
            errors.append(invalid(of_list, whole, "unsupported scope applied to resource"))


def _check_conflicts(scopes: list[str], path: Path, shown: object, errors: Errors) -> None:
    for one, other in _CONFLICTS:
        if one in scopes and other in scopes:
            errors.append(invalid(path, shown, "conflicting scopes"))


def validate_resource_quota_update(new: Part, old: Part) -> list[FieldError]:
    now = (new.get("spec") or {}).get("scopes") or []
    if set(now) == set((old.get("spec") or {}).get("scopes") or ()):
        return []
    return [invalid(_SPEC.child("scopes"), now or None, IMMUTABLE)]


def validate_resource_quota_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    for field in ("hard", "used"):
        _check_quota_amounts((new.get("status") or {}).get(field) or {}, Path("status").child(field), errors)
    return errors
