"""The question that authorization answers, and its answer.

Source: apiserver `pkg/authorization/authorizer`, `endpoints/handlers/responsewriters/errors.go`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from pilothouse.api import status
from pilothouse.api.user import User
from pilothouse.apiserver.errors import Denied


class Attributes(NamedTuple):
    """What a user wants to do. A request for something other than a resource has a `path` and no `resource`."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""
    label_selector: str = ""

    @property
    def is_resource(self) -> bool:
        return not self.path


class Verdict(Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


class Decision(NamedTuple):
    verdict: Verdict
    reason: str = ""
    error: str = ""
    """What went wrong on the way. It does not change the verdict, but a request that is not allowed fails by it."""

    @property
    def is_allowed(self) -> bool:
        return self.verdict is Verdict.ALLOW


ALLOW = Decision(Verdict.ALLOW)
NO_OPINION = Decision(Verdict.NO_OPINION)


class UserRules(NamedTuple):
    """What a user may do in a namespace, for SelfSubjectRulesReview. `error` tells why it may not be all."""

    rules: Sequence[dict[str, Any]] = ()
    """PolicyRules of rbac.authorization.k8s.io."""
    is_complete: bool = True
    error: str = ""


class Mode(Protocol):
    """An authorizer that answers from memory."""

    def authorize(self, attributes: Attributes) -> Decision: ...

    def rules_for(self, user: User, namespace: str) -> UserRules: ...


class Remote(ABC):
    """An authorizer that has to ask somebody else. A decision that it knows without asking costs no waiting."""

    @abstractmethod
    def known(self, attributes: Attributes) -> Decision | None: ...

    @abstractmethod
    async def ask(self, attributes: Attributes) -> Decision: ...

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections; the next question opens new ones."""

    @abstractmethod
    def rules_for(self, user: User, namespace: str) -> UserRules: ...


class Authorizer(Protocol):
    """All modes together."""

    async def authorize(self, attributes: Attributes) -> Decision: ...

    def at_once(self, attributes: Attributes) -> Decision | None:
        """The decision, or None if it takes waiting."""

    def rules_for(self, user: User, namespace: str) -> UserRules: ...


class PathForbidden(Denied):
    """Of a request for no resource."""

    has_details = True


def forbidden(attributes: Attributes, reason: str = "") -> status.Forbidden:
    """The 403 error for a request that was not allowed; it names user, verb, resource and namespace."""
    message = describe(attributes).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if reason:
        message = f"{message}: {reason}"
    if attributes.resource:
        group, kind, name = attributes.group, attributes.resource, attributes.name
        return Denied(status.forbidden(kind, group, name, message).message, group=group, kind=kind, name=name)
    return PathForbidden(f"forbidden: {message}")


def describe(attributes: Attributes) -> str:
    """`User "x" cannot list resource "pods" in API group "" in the namespace "default"`."""
    user = json.dumps(attributes.user.name, ensure_ascii=False)
    if not attributes.is_resource:
        return f"User {user} cannot {attributes.verb} path {json.dumps(attributes.path, ensure_ascii=False)}"
    resource = f"{attributes.resource}/{attributes.subresource}" if attributes.subresource else attributes.resource
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    return f'User {user} cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}'
