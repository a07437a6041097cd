"""Roles and their bindings. Source: `pkg/apis/rbac/validation`."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api import selector as selectors_of
from pilothouse.api.path import FieldError, Path, invalid, not_supported, required
from pilothouse.api.status import BadRequest
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import Errors, Part, check_choice, check_name, check_present

_GROUP = "rbac.authorization.k8s.io"


def validate_role(role: Part) -> list[FieldError]:
    return _rule_faults(role, namespaced=True)


def validate_cluster_role(role: Part) -> list[FieldError]:
    errors = _rule_faults(role, namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is not None:
        path = Path("aggregationRule.clusterRoleSelectors")
        selectors = aggregation.get("clusterRoleSelectors") or ()
        if not selectors:
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            errors.append(required(path, text))
        for i, selector in enumerate(selectors):
            check_label_selector(selector, path.index(i), errors)
            try:
                selectors_of.from_object(selector)
            except BadRequest:
                errors.append(invalid(path.index(i), None, "invalid label selector."))
    return errors


def _rule_faults(role: Part, *, namespaced: bool) -> list[FieldError]:
    errors: Errors = []
    for i, rule in enumerate(role.get("rules") or ()):
        check_rule(rule, Path("rules").index(i), errors, namespaced=namespaced)
    return errors


def check_rule(rule: Part, path: Path, errors: Errors, *, namespaced: bool) -> None:
    if not rule.get("verbs"):
        errors.append(required(path.child("verbs"), "verbs must contain at least one value"))
    if urls := rule.get("nonResourceURLs"):
        here = path.child("nonResourceURLs")
        if namespaced:
            errors.append(invalid(here, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(here, urls, text))
        return
    if not rule.get("apiGroups"):
        errors.append(required(path.child("apiGroups"), "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(path.child("resources"), "resource rules must supply at least one resource"))


def validate_role_binding(binding: Part) -> list[FieldError]:
    return _binding_faults(binding, namespaced=True)


def validate_cluster_role_binding(binding: Part) -> list[FieldError]:
    return _binding_faults(binding, namespaced=False)


_ROLE = {"APIGroup": "", "Kind": "", "Name": ""}


def validate_binding_update(new: Part, old: Part) -> list[FieldError]:
    """Which role a binding grants stays for good."""
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [invalid(Path("roleRef"), shown(new.get("roleRef"), _ROLE), "cannot change roleRef")]


def _binding_faults(binding: Part, *, namespaced: bool) -> list[FieldError]:
    errors: Errors = []
    role, path = binding.get("roleRef") or {}, Path("roleRef")
    check_choice(role.get("apiGroup", ""), (_GROUP,), path.child("apiGroup"), errors)
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    check_choice(role.get("kind", ""), kinds, path.child("kind"), errors)
    if check_present(role, "name", path, errors):
        check_name(names.path_segment, role["name"], path.child("name"), errors)
    for i, subject in enumerate(binding.get("subjects") or ()):
        _check_subject(subject, Path("subjects").index(i), errors, namespaced)
    return errors


def _check_subject(subject: Part, path: Path, errors: Errors, namespaced: bool) -> None:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    if not name:
        errors.append(required(path.child("name")))
    if kind == "ServiceAccount":
        if name:
            check_name(names.dns_subdomain, name, path.child("name"), errors)
        if group:
            errors.append(not_supported(path.child("apiGroup"), group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(path.child("namespace")))
    elif kind in ("User", "Group"):
        check_choice(group, (_GROUP,), path.child("apiGroup"), errors)
    else:
        errors.append(not_supported(path.child("kind"), kind, ("ServiceAccount", "User", "Group")))
