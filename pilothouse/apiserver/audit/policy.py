"""Which requests are recorded, and how much of them. Source: apiserver `pkg/audit/policy`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, invalid, not_supported, required
from pilothouse.api.status import aggregate
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
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise PolicyError("failed decoding: Object 'Kind' or 'apiVersion' is missing")
        version, kind = document["apiVersion"], document["kind"]
        if (version, kind) != ("audit.k8s.io/v1", "Policy"):
            raise PolicyError(f'failed decoding: no kind "{kind}" is registered for version "{version}"')
        self._rules: Sequence[Mapping[str, Any]] = document.get("rules") or ()
        faults = [*_stage_faults(document, Path("omitStages"))]
        for index, rule in enumerate(self._rules):
            faults += _rule_faults(rule, Path("rules").index(index))
        if faults:
            raise PolicyError(aggregate(map(str, faults)))
        if not self._rules:
            raise PolicyError("loaded illegal policy with 0 rules")
        stages = frozenset(document.get("omitStages") or ())
        omits = bool(document.get("omitManagedFields"))
        self._decisions = [_decision(rule, stages, omits) for rule in self._rules]

    def decide(self, user: User | None, info: RequestInfo) -> Decision:
        """What is recorded of a request, of nobody if its sender did not prove who he is."""
        for rule, decision in zip(self._rules, self._decisions, strict=True):
            if _fits(rule, user, info):
                return decision
        return Decision()


def _decision(rule: Mapping[str, Any], stages: frozenset[str], omits: bool) -> Decision:
    own = rule.get("omitManagedFields")
    return Decision(rule["level"], stages | set(rule.get("omitStages") or ()), omits if own is None else bool(own))


def _rule_faults(rule: Mapping[str, Any], path: Path) -> Iterable[FieldError]:
    level = rule.get("level") or ""
    if not level:
        yield required(path.child("level"))
    elif level not in LEVELS:
        yield not_supported(path.child("level"), level, LEVELS)
    urls = rule.get("nonResourceURLs") or ()
    for index, url in enumerate(urls):
        where = path.child("nonResourceURLs").index(index)
        if url != "*" and not url.startswith("/"):
            yield invalid(where, url, "non-resource URL rules must begin with a '/' character")
        if "*" in url[:-1]:
            yield invalid(where, url, "non-resource URL wildcards '*' must be the final character of the rule")
    for group in rule.get("resources") or ():
        name = group.get("group") or ""
        if name not in ("", "*") and (why := names.dns_subdomain(name)):
            yield invalid(path.child("resources", "group"), name, ",".join(why))
        if group.get("resourceNames") and not group.get("resources"):
            where, why_not = (
                path.child("resources", "resourceNames"),
                "using resourceNames requires at least one resource",
            )
            yield invalid(where, group["resourceNames"], why_not)
    yield from _stage_faults(rule, path.child("omitStages"))
    if urls and (rule.get("resources") or rule.get("namespaces")):
        why_not = "rules cannot apply to both regular resources and non-resource URLs"
        yield invalid(path.child("nonResourceURLs"), list(urls), why_not)


def _stage_faults(owner: Mapping[str, Any], path: Path) -> Iterable[FieldError]:
    for index, stage in enumerate(owner.get("omitStages") or ()):
        if stage not in STAGES:
            yield invalid(path.index(index), stage, f"allowed stages are {','.join(STAGES)}")


def _fits(rule: Mapping[str, Any], user: User | None, info: RequestInfo) -> bool:
    if rule.get("users") and (user is None or user.name not in rule["users"]):
        return False
    if rule.get("userGroups") and (user is None or not set(rule["userGroups"]) & set(user.groups)):
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
