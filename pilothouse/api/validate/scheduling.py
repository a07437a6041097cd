"""Where a pod may run: affinity, tolerations, taints, topology spread, gates. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pilothouse.api import names
from pilothouse.api.path import Path, duplicate, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.metadata import check_label_name, check_label_selector
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import Errors, Part, check_choice, check_name, check_positive

_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SPREAD_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_NODE_POLICIES = ("Honor", "Ignore")
_IN_BOTH = "exists in both matchLabelKeys and labelSelector"
_WEIGHT = "must be in the range 1-100"


def check_affinity(affinity: Part, path: Path, errors: Errors) -> None:
    if node := affinity.get("nodeAffinity"):
        _check_node_affinity(node, path.child("nodeAffinity"), errors)
    for field in ("podAffinity", "podAntiAffinity"):
        if terms := affinity.get(field):
            _check_pod_affinity(terms, path.child(field), errors)


def _check_node_affinity(affinity: Part, path: Path, errors: Errors) -> None:
    if (selector := affinity.get(_REQUIRED)) is not None:
        check_node_selector(selector, path.child(_REQUIRED), errors)
    for i, term in enumerate(affinity.get(_PREFERRED) or ()):
        here = path.child(_PREFERRED).index(i)
        _check_weight(term, here, errors)
        _check_node_term(term.get("preference") or {}, here.child("preference"), errors, True)


def check_node_selector(selector: Part, path: Path, errors: Errors) -> None:
    here = path.child("nodeSelectorTerms")
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        errors.append(required(here, "must have at least one node selector term"))
        return
    for i, term in enumerate(terms):
        _check_node_term(term, here.index(i), errors, False)


def _check_node_term(term: Part, path: Path, errors: Errors, any_value: bool) -> None:
    for i, requirement in enumerate(term.get("matchExpressions") or ()):
        _check_node_requirement(requirement, path.child("matchExpressions").index(i), errors, any_value)
    for i, requirement in enumerate(term.get("matchFields") or ()):
        _check_node_field(requirement, path.child("matchFields").index(i), errors)


def _check_node_requirement(requirement: Part, path: Path, errors: Errors, any_value: bool) -> None:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(field_forbidden(path.child("values"), text))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(path.child("values"), text))
    else:
        errors.append(invalid(path.child("operator"), operator, "not a valid selector operator"))
    check_label_name(requirement.get("key", ""), path.child("key"), errors)
    if not any_value:
        for i, value in enumerate(values):
            check_name(names.label_value, value, path.child("values").index(i), errors)


def _check_node_field(requirement: Part, path: Path, errors: Errors) -> None:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    if operator not in ("In", "NotIn"):
        errors.append(invalid(path.child("operator"), operator, "not a valid selector operator"))
    elif len(values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(path.child("values"), text))
    key = requirement.get("key", "")
    if key != "metadata.name":
        errors.append(invalid(path.child("key"), key, "not a valid field selector key"))
        return
    for i, value in enumerate(values):
        check_name(names.dns_subdomain, value, path.child("values").index(i), errors)


def _check_weight(term: Part, path: Path, errors: Errors) -> None:
    weight = term.get("weight", 0)
    if not 0 < weight <= 100:
        errors.append(invalid(path.child("weight"), weight, _WEIGHT))


def _check_pod_affinity(affinity: Part, path: Path, errors: Errors) -> None:
    for i, term in enumerate(affinity.get(_REQUIRED) or ()):
        _check_pod_term(term, path.child(_REQUIRED).index(i), errors)
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        here = path.child(_PREFERRED).index(i)
        _check_weight(weighted, here, errors)
        _check_pod_term(weighted.get("podAffinityTerm") or {}, here.child("podAffinityTerm"), errors)


def _check_pod_term(term: Part, path: Path, errors: Errors) -> None:
    selector = term.get("labelSelector")
    check_label_selector(selector, path.child("labelSelector"), errors)
    check_label_selector(term.get("namespaceSelector"), path.child("namespaceSelector"), errors)
    for name in term.get("namespaces") or ():
        check_name(names.dns_label, name, path.child("namespace"), errors)
    _check_label_keys(term, selector, path, errors)
    topology = term.get("topologyKey", "")
    if not topology:
        errors.append(required(path.child("topologyKey"), "can not be empty"))
    check_label_name(topology, path.child("topologyKey"), errors)


def _check_label_keys(term: Part, selector: Part | None, path: Path, errors: Errors) -> None:
    """`matchLabelKeys` and `mismatchLabelKeys`: valid, apart from each other, and not in the selector."""
    matched, mismatched = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    if not matched and not mismatched:
        return
    for field, keys in (("matchLabelKeys", matched), ("mismatchLabelKeys", mismatched)):
        if keys and selector is None:
            errors.append(field_forbidden(path.child(field), "must not be specified when labelSelector is not set"))
            continue
        for i, key in enumerate(keys):
            check_label_name(key, path.child(field).index(i), errors)
    if selector is not None:
        seen = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key", "")
            if key in matched and key in seen:
                errors.append(invalid(path.index(matched.index(key)), key, _IN_BOTH))
            seen.add(key)
    for i, key in enumerate(matched):
        if key in mismatched:
            text = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(invalid(path.child("matchLabelKeys").index(i), key, text))


def check_tolerations(tolerations: Sequence[Part], path: Path, errors: Errors) -> None:
    for i, toleration in enumerate(tolerations):
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        here = path.index(i)
        if key:
            check_label_name(key, here.child("key"), errors)
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(here.child("operator"), operator, text))
        if "tolerationSeconds" in toleration and effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(here.child("effect"), effect, text))
        if operator in ("Equal", ""):
            if messages := names.label_value(value):
                errors.append(invalid(here.child("operator"), value, ";".join(messages)))
        elif operator == "Exists":
            if value:
                errors.append(invalid(here.child("operator"), value, "value must be empty when `operator` is 'Exists'"))
        else:
            known = ("Equal", "Exists", "Lt", "Gt") if operator in ("Lt", "Gt") else ("Equal", "Exists")
            errors.append(not_supported(here.child("operator"), operator, known))
        if effect:
            check_choice(effect, TAINT_EFFECTS, here.child("effect"), errors)


_TAINT = {"Key": "", "Value": "", "Effect": "", "TimeAdded": None}


def check_taints(taints: Sequence[Part], path: Path, errors: Errors) -> None:
    """The taints of a node; no two may have the same key and effect."""
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        here = path.index(i)
        check_label_name(taint.get("key", ""), here.child("key"), errors)
        if messages := names.label_value(taint.get("value", "")):
            errors.append(invalid(here.child("value"), taint["value"], ";".join(messages)))
        effect = taint.get("effect", "")
        if not effect:
            errors.append(required(here.child("effect")))
        else:
            check_choice(effect, TAINT_EFFECTS, here.child("effect"), errors)
        identity = (taint.get("key", ""), effect)
        if identity in seen:
            errors.append(
                replace(duplicate(here, shown(taint, _TAINT)), detail="taints must be unique by key and effect pair")
            )
        seen.add(identity)


def check_topology_spread(constraints: Sequence[Part], path: Path, errors: Errors) -> None:
    for i, constraint in enumerate(constraints):
        here = path.index(i)
        check_positive(constraint, "maxSkew", here, errors)
        topology, action = constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        if not topology:
            errors.append(required(here.child("topologyKey"), "can not be empty"))
        check_choice(action, _SPREAD_ACTIONS, here.child("whenUnsatisfiable"), errors)
        if any(
            other.get("topologyKey", "") == topology and other.get("whenUnsatisfiable", "") == action
            for other in constraints[i + 1 :]
        ):
            errors.append(duplicate(here.child("{topologyKey, whenUnsatisfiable}"), f"{{{topology}, {action}}}"))
        if "minDomains" in constraint:
            check_positive(constraint, "minDomains", here, errors)
            if action != "DoNotSchedule":
                text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                errors.append(invalid(here.child("minDomains"), constraint["minDomains"], text))
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if field in constraint:
                check_choice(constraint[field], _NODE_POLICIES, here.child(field), errors)
        selector = constraint.get("labelSelector")
        _check_label_keys(constraint, selector, here, errors)
        check_label_selector(selector, here.child("labelSelector"), errors)


def check_scheduling_gates(gates: Sequence[Part], path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name", "")
        check_name(names.label_key, name, path.index(i), errors)
        if name in seen:
            errors.append(duplicate(path.index(i), name))
        seen.add(name)
