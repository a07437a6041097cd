"""Which requests are recorded, and how much of them. Source: apiserver `pkg/audit/policy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.user import User
from pilothouse.apiserver.route import RequestInfo

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class PolicyError(ValueError):
    """A policy cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is recorded of a request."""

    level: str = "None"
    omitted_stages: frozenset[str] = frozenset()
    omits_managed_fields: bool = False

    @property
    def has_request(self) -> bool:
        return self.level in ("Request", "RequestResponse")

    @property
    def has_response(self) -> bool:
        return self.level == "RequestResponse"


class Policy:
    """The first rule that fits a request decides; without one, nothing is recorded."""

    def __init__(self, document: Any) -> None:
        """Raises PolicyError."""
        if not isinstance(document, dict) or document.get("kind") != "Policy":
            raise PolicyError("the document is not a Policy")
        if document.get("apiVersion") != "audit.k8s.io/v1":
            raise PolicyError("apiVersion must be audit.k8s.io/v1")
        self._rules: Sequence[Mapping[str, Any]] = document.get("rules") or ()
        if not self._rules:
            raise PolicyError("rules: must be set")
        stages = _stages(document, "omitStages")
        omits = bool(document.get("omitManagedFields"))
        self._decisions = [_decision(rule, f"rules[{i}]", stages, omits) for i, rule in enumerate(self._rules)]

    def decide(self, user: User, info: RequestInfo) -> Decision:
        for rule, decision in zip(self._rules, self._decisions, strict=True):
            if _fits(rule, user, info):
                return decision
        return Decision()


def _decision(rule: Mapping[str, Any], where: str, stages: frozenset[str], omits: bool) -> Decision:
    level = rule.get("level", "")
    if level not in LEVELS:
        raise PolicyError(f'{where}.level: "{level}" is not one of {", ".join(LEVELS)}')
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        raise PolicyError(
            f"{where}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
        )
    own = rule.get("omitManagedFields")
    return Decision(level, stages | _stages(rule, f"{where}.omitStages"), omits if own is None else bool(own))


def _stages(document: Mapping[str, Any], where: str) -> frozenset[str]:
    stages = frozenset(document.get("omitStages") or ())
    if unknown := sorted(stages - set(STAGES)):
        raise PolicyError(f'{where}: "{unknown[0]}" is not one of {", ".join(STAGES)}')
    return stages


def _fits(rule: Mapping[str, Any], user: User, info: RequestInfo) -> bool:
    if rule.get("users") and user.name not in rule["users"]:
        return False
    if rule.get("userGroups") and not set(rule["userGroups"]) & set(user.groups):
        return False
    if rule.get("verbs") and info.verb not in rule["verbs"]:
        return False
    if rule.get("namespaces") or rule.get("resources"):
        return _fits_resource(rule, info)
    if rule.get("nonResourceURLs"):
        return not info.is_resource and any(_fits_path(info.path, each) for each in rule["nonResourceURLs"])
    return True


def _fits_path(path: str, pattern: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _fits_resource(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    if not info.is_resource or (rule.get("namespaces") and info.namespace not in rule["namespaces"]):
        return False
    return not rule.get("resources") or any(_fits_group(each, info) for each in rule["resources"])


def _fits_group(group: Mapping[str, Any], info: RequestInfo) -> bool:
    if group.get("group", "") not in (info.api_group, "*"):
        return False
    if not group.get("resources"):
        return True
    if group.get("resourceNames") and info.name not in group["resourceNames"]:
        return False
    whole = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    wanted = {whole, "*", f"{info.resource}/*"} | ({f"*/{info.subresource}"} if info.subresource else set())
    return bool(wanted & set(group["resources"]))
