"""Who makes a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.identities import (
    ANONYMOUS,
    NODE_PREFIX,
    SERVICE_ACCOUNT_PREFIX,
    SERVICE_ACCOUNTS,
    SYSTEM_AUTHENTICATED,
    SYSTEM_NODES,
    SYSTEM_UNAUTHENTICATED,
)

_MAX_NAME = 253
_account = re.compile(
    r"([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?):([a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)"
).fullmatch


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity; `UserInfo` of authentication.k8s.io on the wire."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def node_name(self) -> str:
        """The node whose kubelet this is, or empty."""
        if self.name.startswith(NODE_PREFIX) and SYSTEM_NODES in self.groups:
            return self.name.removeprefix(NODE_PREFIX)
        return ""

    @property
    def service_account(self) -> tuple[str, str] | None:
        """`(namespace, name)` of the service account this is."""
        if not self.name.startswith(SERVICE_ACCOUNT_PREFIX):
            return None
        match = _account(self.name.removeprefix(SERVICE_ACCOUNT_PREFIX))
        return (match[1], match[2]) if match is not None and len(match[2]) <= _MAX_NAME else None

    def to_object(self) -> dict[str, Any]:
        """The `UserInfo` object."""
        info: dict[str, Any] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


def anonymous() -> User:
    return User(ANONYMOUS, groups=(SYSTEM_UNAUTHENTICATED,))


def authenticated(user: User) -> User:
    """`user` in the group system:authenticated, where it is not anonymous."""
    if SYSTEM_AUTHENTICATED in user.groups or SYSTEM_UNAUTHENTICATED in user.groups or user.name == ANONYMOUS:
        return user
    return User(user.name, user.uid, (*user.groups, SYSTEM_AUTHENTICATED), user.extra)


def service_account_name(namespace: str, name: str) -> str:
    return f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}")
