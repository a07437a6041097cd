"""The modes that do not look at the request."""

from __future__ import annotations

from typing import Any

from pilothouse.api.identities import SYSTEM_MASTERS
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import ALLOW, NO_OPINION, Attributes, Decision, UserRules, Verdict

_EVERYTHING: list[dict[str, Any]] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


class AlwaysAllow:
    def authorize(self, attributes: Attributes) -> Decision:
        return ALLOW

    def rules_for(self, user: User, namespace: str) -> UserRules:
        return UserRules(_EVERYTHING)


class AlwaysDeny:
    def authorize(self, attributes: Attributes) -> Decision:
        return Decision(Verdict.NO_OPINION, "Everything is forbidden.")

    def rules_for(self, user: User, namespace: str) -> UserRules:
        return UserRules()


class PrivilegedGroup:
    """Allows everything to system:masters, whatever the other modes say, so that an administrator cannot be locked out."""

    def authorize(self, attributes: Attributes) -> Decision:
        return ALLOW if SYSTEM_MASTERS in attributes.user.groups else NO_OPINION

    def rules_for(self, user: User, namespace: str) -> UserRules:
        return UserRules()
