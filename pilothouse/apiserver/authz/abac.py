"""The ABAC mode: a file with a policy in JSON on each line. Source: `pkg/auth/authorizer/abac`, `pkg/apis/abac`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api.identities import SYSTEM_AUTHENTICATED
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import ALLOW, Attributes, Decision, UserRules, Verdict

_VERSION = "abac.authorization.kubernetes.io/v1beta1"
_READING = ("get", "list", "watch")
_NO_POLICY = Decision(Verdict.NO_OPINION, "No policy matched.")


@dataclass(frozen=True, slots=True)
class Policy:
    """What one line allows, to whom."""

    user: str = ""
    group: str = ""
    is_readonly: bool = False
    namespace: str = ""
    resource: str = ""
    api_group: str = ""
    path: str = ""

    def is_for(self, user: User) -> bool:
        if not self.user and not self.group:
            return False
        return (not self.user or self.user in ("*", user.name)) and (
            not self.group or self.group == "*" or self.group in user.groups
        )

    def allows(self, attributes: Attributes) -> bool:
        if not self.is_for(attributes.user) or (self.is_readonly and attributes.verb not in _READING):
            return False
        if attributes.is_resource:
            return (
                self.namespace in ("*", attributes.namespace)
                and self.resource in ("*", attributes.resource)
                and self.api_group in ("*", attributes.group)
            )
        path = self.path
        return path in ("*", attributes.path) or (path.endswith("*") and attributes.path.startswith(path.rstrip("*")))


class Abac:
    def __init__(self, text: str) -> None:
        """Raises ValueError for a line that is no policy."""
        self._policies = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.strip().startswith("#"):
                try:
                    self._policies.append(_policy(orjson.loads(line)))
                except (ValueError, TypeError, AttributeError) as error:
                    raise ValueError(f"error reading policy file, line {number}: {line}: {error}") from error

    def authorize(self, attributes: Attributes) -> Decision:
        return ALLOW if any(policy.allows(attributes) for policy in self._policies) else _NO_POLICY

    def rules_for(self, user: User, namespace: str) -> UserRules:
        rules: list[dict[str, Any]] = []
        for policy in self._policies:
            if not policy.is_for(user) or policy.namespace not in ("*", namespace):
                continue
            verbs = list(_READING) if policy.is_readonly else ["*"]
            if policy.resource:
                rules.append({"verbs": verbs, "apiGroups": [policy.api_group], "resources": [policy.resource]})
            if policy.path:
                rules.append({"verbs": verbs, "nonResourceURLs": [policy.path]})
        return UserRules(rules)


def _policy(line: Mapping[str, Any]) -> Policy:
    if line.get("kind") or line.get("apiVersion"):
        if (line.get("apiVersion"), line.get("kind")) != (_VERSION, "Policy"):
            raise ValueError(f"the line is no Policy of {_VERSION}")
        spec = line.get("spec") or {}
        user, group = spec.get("user", ""), spec.get("group", "")
        if "*" in (user, group):
            user, group = "", SYSTEM_AUTHENTICATED
        return Policy(
            user,
            group,
            bool(spec.get("readonly")),
            spec.get("namespace", ""),
            spec.get("resource", ""),
            spec.get("apiGroup", ""),
            spec.get("nonResourcePath", ""),
        )
    user, group, namespace, resource = (line.get(key) or "" for key in ("user", "group", "namespace", "resource"))
    if (not user and not group) or "*" in (user, group):
        user, group = "", SYSTEM_AUTHENTICATED
    everything = not namespace and not resource
    return Policy(
        user, group, bool(line.get("readonly")), namespace or "*", resource or "*", "*", "*" if everything else ""
    )
