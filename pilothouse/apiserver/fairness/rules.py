"""Which FlowSchema a request falls under. Source: apiserver `pkg/util/flowcontrol/rule.go`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.user import User
from pilothouse.apiserver.route import RequestInfo

_ACCOUNT = "system:serviceaccount:"


def ordered(schemas: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """FlowSchemas in the order in which they are tried."""
    return sorted(
        schemas, key=lambda schema: (schema["spec"].get("matchingPrecedence", 1000), schema["metadata"]["name"])
    )


def matches(schema: Mapping[str, Any], user: User, info: RequestInfo) -> bool:
    return any(_rule_matches(rule, user, info) for rule in schema["spec"].get("rules") or ())


def distinguisher(schema: Mapping[str, Any], user: User, info: RequestInfo) -> str:
    """What tells the flows of a schema apart."""
    method = (schema["spec"].get("distinguisherMethod") or {}).get("type", "")
    if method == "ByUser":
        return user.name
    return info.namespace if method == "ByNamespace" else ""


def _rule_matches(rule: Mapping[str, Any], user: User, info: RequestInfo) -> bool:
    if not any(_is_subject(subject, user) for subject in rule.get("subjects") or ()):
        return False
    if info.is_resource:
        return any(_resource_matches(each, info) for each in rule.get("resourceRules") or ())
    return any(_path_matches(each, info) for each in rule.get("nonResourceRules") or ())


def _is_subject(subject: Mapping[str, Any], user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in ("*", user.name)
        case "Group":
            name = (subject.get("group") or {}).get("name")
            return name == "*" or name in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            prefix = f"{_ACCOUNT}{account.get('namespace', '')}:"
            if account.get("name") == "*":
                return user.name.startswith(prefix)
            return user.name == prefix + str(account.get("name", ""))
    return False


def _resource_matches(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    return (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("resources"), resource)
        and _has(rule.get("apiGroups"), info.api_group)
        and (_has(rule.get("namespaces"), info.namespace) if info.namespace else bool(rule.get("clusterScope")))
    )


def _path_matches(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    if not _has(rule.get("verbs"), info.verb):
        return False
    for pattern in rule.get("nonResourceURLs") or ():
        prefix = pattern.removesuffix("*")
        if pattern in ("*", info.path) or info.path.startswith(prefix if prefix.endswith("/") else f"{prefix}/"):
            return True
    return False


def _has(values: Sequence[str] | None, value: str) -> bool:
    return bool(values) and (value in (values or ()) or list(values or ()) == ["*"])
