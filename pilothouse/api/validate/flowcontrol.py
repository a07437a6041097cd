"""FlowSchemas and PriorityLevelConfigurations. Source: `pkg/apis/flowcontrol/validation`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, Shown, duplicate, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.shown import maybe, shown
from pilothouse.api.validate.values import Errors, Part, check_name

_SPEC = Path("spec")
_STATUS = Path("status")
_HIGHEST_PRECEDENCE = 10_000
_MOST_QUEUES = 10_000_000
_HASH_BITS = 60
_METHODS = ("ByNamespace", "ByUser")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "
_ROUND_TRIP = "flowcontrol.k8s.io/preserve-zero-concurrency-shares"
_EVERYTHING = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _groups(*groups: str) -> dict[str, Any]:
    return {"subjects": [{"kind": "Group", "group": {"name": group}} for group in groups], **_EVERYTHING}


_FIXED_SCHEMAS: dict[str, Part] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [_groups("system:masters")],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": _HIGHEST_PRECEDENCE,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [_groups("system:unauthenticated", "system:authenticated")],
    },
}
_FIXED_LEVELS: dict[str, Part] = {
    "exempt": {"type": "Exempt"},
    "catch-all": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0},
    },
}
"""What the server needs to go on; the exempt level may be given shares."""
_QUEUING = {"Queues": 0, "HandSize": 0, "QueueLengthLimit": 0}
_LEVEL = {
    "Type": "",
    "Limited": maybe(
        {
            "NominalConcurrencyShares": 0,
            "LimitResponse": {"Type": "", "Queuing": maybe(_QUEUING)},
            "LendablePercent": None,
            "BorrowingLimitPercent": None,
        }
    ),
    "Exempt": maybe({"NominalConcurrencyShares": None, "LendablePercent": None}),
}
_NAMED = {"Name": ""}
_SCHEMA = {
    "PriorityLevelConfiguration": _NAMED,
    "MatchingPrecedence": 0,
    "DistinguisherMethod": maybe({"Type": ""}),
    "Rules": [
        {
            "Subjects": [
                {
                    "Kind": "",
                    "User": maybe(_NAMED),
                    "Group": maybe(_NAMED),
                    "ServiceAccount": maybe({"Namespace": "", "Name": ""}),
                }
            ],
            "ResourceRules": [
                {"Verbs": None, "APIGroups": None, "Resources": None, "ClusterScope": False, "Namespaces": None}
            ],
            "NonResourceRules": [{"Verbs": None, "NonResourceURLs": None}],
        }
    ],
}


def validate_flow_schema(schema: Part) -> list[FieldError]:
    errors: Errors = []
    spec, name = schema.get("spec") or {}, schema["metadata"].get("name", "")
    path = _SPEC.child("matchingPrecedence")
    precedence = spec.get("matchingPrecedence", 0)
    if precedence <= 0:
        errors.append(invalid(path, precedence, "must be a positive value"))
    if precedence > _HIGHEST_PRECEDENCE:
        errors.append(invalid(path, precedence, f"must not be greater than {_HIGHEST_PRECEDENCE}"))
    if precedence == 1 and name != "exempt":
        errors.append(invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        value = shown(method, {"Type": ""})
        errors.append(not_supported(_SPEC.child("distinguisherMethod", "type"), value, _METHODS))
    path = _SPEC.child("priorityLevelConfiguration", "name")
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    if level:
        check_name(names.dns_subdomain, level, path, errors)
    else:
        errors.append(required(path, "must reference a priority level"))
    for i, rule in enumerate(spec.get("rules") or ()):
        _check_rule(rule, _SPEC.child("rules").index(i), errors)
    if (fixed := _FIXED_SCHEMAS.get(name)) is not None and spec != fixed:
        errors.append(invalid(_SPEC, shown(spec, _SCHEMA), f"spec of '{name}' must equal the fixed value"))
    errors += _conditions(schema)
    return errors


def validate_status_update(new: Part, old: Part) -> list[FieldError]:
    """For both kinds."""
    return _conditions(new)


def _conditions(obj: Part) -> list[FieldError]:
    errors: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        here, kind = _STATUS.child("conditions").index(i).child("type"), condition.get("type", "")
        if kind in seen:
            errors.append(duplicate(here, kind))
        seen.add(kind)
        if not kind:
            errors.append(required(here))
    return errors


def _check_rule(rule: Part, path: Path, errors: Errors) -> None:
    subjects, resources, others = (rule.get(key) or () for key in ("subjects", "resourceRules", "nonResourceRules"))
    if not subjects:
        errors.append(required(path.child("subjects"), "subjects must contain at least one value"))
    for i, subject in enumerate(subjects):
        _check_subject(subject, path.child("subjects").index(i), errors)
    if not resources and not others:
        errors.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for i, one in enumerate(resources):
        _check_resource_rule(one, path.child("resourceRules").index(i), errors)
    for i, one in enumerate(others):
        _check_other_rule(one, path.child("nonResourceRules").index(i), errors)


def _check_subject(subject: Part, path: Path, errors: Errors) -> None:
    kind = subject.get("kind", "")
    field = _SUBJECTS.get(kind)
    if field is None:
        errors.append(not_supported(path.child("kind"), kind, _SUBJECTS))
        return
    one = subject.get(field)
    here = path.child(field)
    if one is None:
        errors.append(required(here, f"{field} is required when subject kind is '{kind}'"))
    elif not one.get("name"):
        errors.append(required(here.child("name")))
    elif field == "serviceAccount" and one["name"] != "*":
        check_name(names.dns_subdomain, one["name"], here.child("name"), errors)
    if field == "serviceAccount" and one is not None:
        if one.get("namespace"):
            check_name(names.dns_label, one["namespace"], here.child("namespace"), errors)
        else:
            errors.append(required(here.child("namespace"), "must specify namespace for service account"))
    for other in ("ServiceAccount", "User", "Group"):
        if other != kind and _SUBJECTS[other] in subject:
            text = f"{_SUBJECTS[other]} is forbidden when subject kind is not '{other}'"
            errors.append(field_forbidden(path.child(_SUBJECTS[other]), text))


def _check_verbs(verbs: Sequence[str], path: Path, errors: Errors) -> None:
    if not verbs:
        errors.append(required(path, "verbs must contain at least one value"))
    elif "*" in verbs:
        if len(verbs) > 1:
            errors.append(invalid(path, verbs, "if '*' is present, must not specify other verbs"))
    elif not set(verbs) <= set(_VERBS):
        errors.append(not_supported(path, verbs, _VERBS))


def _check_resource_rule(rule: Part, path: Path, errors: Errors) -> None:
    _check_verbs(rule.get("verbs") or (), path.child("verbs"), errors)
    for field, one, many in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        values = rule.get(field) or ()
        if not values:
            errors.append(required(path.child(field), f"resource rules must supply at least one {one}"))
        elif len(values) > 1 and "*" in values:
            errors.append(invalid(path.child(field), values, f"if '*' is present, must not specify other {many}"))
    spaces, here = rule.get("namespaces") or (), path.child("namespaces")
    if not spaces and not rule.get("clusterScope"):
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        errors.append(required(here, text))
    elif "*" in spaces:
        if len(spaces) > 1:
            errors.append(invalid(here, spaces, "if '*' is present, must not specify other namespaces"))
    else:
        for i, space in enumerate(spaces):
            for message in names.dns_label(space):
                errors.append(invalid(here.index(i), space, f"{_NAMESPACE}{message}"))


def _check_other_rule(rule: Part, path: Path, errors: Errors) -> None:
    _check_verbs(rule.get("verbs") or (), path.child("verbs"), errors)
    urls, here = rule.get("nonResourceURLs") or (), path.child("nonResourceURLs")
    if not urls:
        errors.append(required(here, "nonResourceURLs must contain at least one value"))
    elif "*" in urls:
        if len(urls) > 1:
            errors.append(invalid(here, urls, "if '*' is present, must not specify other non-resource URLs"))
    else:
        for i, url in enumerate(urls):
            if fault := _url_fault(url):
                errors.append(invalid(here.index(i), url, fault))


def _url_fault(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


def validate_priority_level(level: Part) -> list[FieldError]:
    errors: Errors = []
    spec, name = level.get("spec") or {}, level["metadata"].get("name", "")
    if _ROUND_TRIP in (level["metadata"].get("annotations") or ()):
        errors.append(field_forbidden(Path("metadata.annotations"), f"annotation '{_ROUND_TRIP}' is forbidden"))
    kind = spec.get("type", "")
    if (name == "exempt") != (kind == "Exempt"):
        text = "must be 'Exempt' if and only if `name` is 'exempt'"
        errors.append(invalid(_SPEC.child("type"), kind, text))
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if kind == "Exempt":
        if limited is not None:
            errors.append(field_forbidden(_SPEC.child("limited"), "must be nil if the type is not Limited"))
        if exempt is not None:
            _check_shares(exempt, _SPEC.child("exempt"), errors)
            _check_lendable(exempt, _SPEC.child("exempt"), errors)
    elif kind == "Limited":
        if exempt is not None:
            errors.append(field_forbidden(_SPEC.child("exempt"), "must be nil if the type is Limited"))
        if limited is None:
            errors.append(required(_SPEC.child("limited"), "must not be empty when type is Limited"))
        else:
            _check_limited(limited, _SPEC.child("limited"), errors)
    else:
        errors.append(not_supported(_SPEC.child("type"), kind, ("Exempt", "Limited")))
    if (fault := _fixed_level_fault(name, spec)) is not None:
        errors.append(invalid(_SPEC, _shown_level(spec), fault))
    errors += _conditions(level)
    return errors


def _shown_level(spec: Part) -> Shown:
    return shown(spec, _LEVEL)


def _fixed_level_fault(name: str, spec: Part) -> str | None:
    fixed = _FIXED_LEVELS.get(name)
    if fixed is None:
        return None
    if name == "exempt":
        have = {key: value for key, value in spec.items() if key != "exempt"}
        return None if have == fixed else f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
    return None if spec == fixed else f"spec of '{name}' must equal the fixed value"


def _check_shares(part: Part, path: Path, errors: Errors) -> None:
    shares = part.get("nominalConcurrencyShares", 0)
    if shares < 0:
        errors.append(invalid(path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer"))


def _check_lendable(part: Part, path: Path, errors: Errors) -> None:
    percent = part.get("lendablePercent", 0)
    if not 0 <= percent <= 100:
        errors.append(invalid(path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive"))


def _check_limited(limited: Part, path: Path, errors: Errors) -> None:
    _check_shares(limited, path, errors)
    response, here = limited.get("limitResponse") or {}, path.child("limitResponse")
    kind, queuing = response.get("type", ""), response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            text = "must be nil if limited.limitResponse.type is not Limited"
            errors.append(field_forbidden(here.child("queuing"), text))
    elif kind == "Queue":
        if queuing is None:
            text = "must not be empty if limited.limitResponse.type is Limited"
            errors.append(required(here.child("queuing"), text))
        else:
            _check_queuing(queuing, here.child("queuing"), errors)
    else:
        errors.append(not_supported(here.child("type"), kind, ("Queue", "Reject")))
    _check_lendable(limited, path, errors)
    borrowed = limited.get("borrowingLimitPercent", 0)
    if borrowed < 0:
        text = "if specified, must be a non-negative integer"
        errors.append(invalid(path.child("borrowingLimitPercent"), borrowed, text))


def _check_queuing(queuing: Part, path: Path, errors: Errors) -> None:
    length, queues, hand = (queuing.get(key, 0) for key in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        errors.append(invalid(path.child("queueLengthLimit"), length, "must be positive"))
    if queues <= 0:
        errors.append(invalid(path.child("queues"), queues, "must be positive"))
    elif queues > _MOST_QUEUES:
        errors.append(invalid(path.child("queues"), queues, f"must not be greater than {_MOST_QUEUES}"))
    if hand <= 0:
        errors.append(invalid(path.child("handSize"), hand, "must be positive"))
    elif hand > queues:
        errors.append(invalid(path.child("handSize"), hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > _HASH_BITS:
        text = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {_HASH_BITS}"
        errors.append(invalid(path.child("handSize"), hand, text))
