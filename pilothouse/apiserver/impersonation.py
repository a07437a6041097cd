"""Doing a request as somebody else.

There are several modes, tried in order until one allows it. A constrained mode takes two rights: `impersonate:<mode>` on who is
impersonated, and `impersonate-on:<mode>:<verb>` on what is then done, so that an agent may, say, list pods as its node and nothing else.
The last mode is the old one: the verb `impersonate`, for any request. Who has none of these is told what the first mode lacks.
Source: apiserver `pkg/endpoints/filters/impersonation`, KEP-5284.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from pilothouse.api.identities import (
    ANONYMOUS,
    NODE_PREFIX,
    SYSTEM_AUTHENTICATED,
    SYSTEM_MASTERS,
    SYSTEM_NODES,
    SYSTEM_UNAUTHENTICATED,
)
from pilothouse.api.status import BadRequest, Forbidden
from pilothouse.api.user import User, service_account_groups
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, forbidden
from pilothouse.apiserver.authz.gate import attributes_of
from pilothouse.apiserver.route import parse_query, request_info
from pilothouse.kit.http.fields import values_of
from pilothouse.kit.http.message import Request

_AUTHENTICATION = "authentication.k8s.io"
_EXTRA = "impersonate-extra-"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_is_node_name = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*").fullmatch
_is_extra_key = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[^\s/][^\s]*").fullmatch


@dataclass(frozen=True, slots=True)
class Mode:
    """A constrained mode, for the users for whom `applies(requestor, wanted)` holds."""

    name: str
    applies: Callable[[User, User], bool]


def _node_of(user: User) -> str:
    """The node that a name stands for, whatever its groups."""
    name = user.name.removeprefix(NODE_PREFIX)
    return name if name != user.name and _is_node_name(name) else ""


def _has_only_a_name(user: User) -> bool:
    return not (user.uid or user.groups or user.extra)


def _is_own_node(requestor: User, wanted: User) -> bool:
    return (
        _has_only_a_name(wanted)
        and bool(_node_of(wanted))
        and requestor.service_account is not None
        and requestor.extra.get(_NODE_NAME) == (_node_of(wanted),)
    )


MODES = (
    Mode("associated-node", _is_own_node),
    Mode("arbitrary-node", lambda requestor, wanted: _has_only_a_name(wanted) and bool(_node_of(wanted))),
    Mode("serviceaccount", lambda requestor, wanted: _has_only_a_name(wanted) and wanted.service_account is not None),
    Mode("user-info", lambda requestor, wanted: not _node_of(wanted) and wanted.service_account is None),
)


class Impersonation:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def impersonate(self, request: Request, user: User) -> User:
        """Whom the request is done as. Raises BadRequest without a user's name, Forbidden for what `user` may not impersonate."""
        if not request.headers.get("impersonate-user"):
            for header in request.headers:
                if header.startswith("impersonate-") and header != "impersonate-user":
                    raise BadRequest("impersonation was requested without impersonating a user name")
            return user
        wanted = _wanted(request)
        info = request_info(request.method, request.path, parse_query(request.query))
        action = attributes_of(user, info)
        first: Forbidden | None = None
        for mode in MODES:
            if mode.applies(user, wanted):
                try:
                    return self._constrained(mode.name, wanted, action)
                except Forbidden as error:
                    first = first or error
        try:
            return self._legacy(user, wanted)
        except Forbidden as error:
            raise first or error from None

    def _constrained(self, mode: str, wanted: User, action: Attributes) -> User:
        self._ask(action._replace(verb=f"impersonate-on:{mode}:{action.verb}"))
        verb, requestor = f"impersonate:{mode}", action.user
        groups = wanted.groups
        if node := _node_of(wanted):
            name = "*" if mode == "associated-node" else node
            self._ask(Attributes(requestor, verb, _AUTHENTICATION, "v1", "nodes", name=name))
            groups = (SYSTEM_NODES,)
        elif wanted.service_account is not None:
            namespace, name = wanted.service_account
            self._ask(
                Attributes(requestor, verb, _AUTHENTICATION, "v1", "serviceaccounts", namespace=namespace, name=name)
            )
            groups = service_account_groups(namespace)
        else:
            self._ask(Attributes(requestor, verb, _AUTHENTICATION, "v1", "users", name=wanted.name))
            self._refuse_risky(Attributes(requestor, verb, _AUTHENTICATION, "v1"), wanted)
        self._ask_details(requestor, verb, _AUTHENTICATION, wanted)
        return _standing(wanted, groups)

    @staticmethod
    def _refuse_risky(question: Attributes, wanted: User) -> None:
        """What the old mode lets through and a constrained one does not."""
        if SYSTEM_MASTERS in wanted.groups:
            asked = question._replace(resource="groups", name=SYSTEM_MASTERS)
            raise forbidden(asked, "impersonating the system:masters group is not allowed")
        for key, values in wanted.extra.items():
            if not _is_extra_key(key) or not values:
                asked = question._replace(resource="userextras")
                raise forbidden(asked, f"impersonating an invalid key in extra is not allowed: {key}")

    def _legacy(self, requestor: User, wanted: User) -> User:
        groups = wanted.groups
        if wanted.service_account is not None:
            namespace, name = wanted.service_account
            self._ask(Attributes(requestor, "impersonate", "", "v1", "serviceaccounts", namespace=namespace, name=name))
            groups = groups or service_account_groups(namespace)
        else:
            self._ask(Attributes(requestor, "impersonate", "", "v1", "users", name=wanted.name))
        self._ask_details(requestor, "impersonate", "", wanted)
        return _standing(wanted, groups)

    def _ask_details(self, requestor: User, verb: str, group_of_groups: str, wanted: User) -> None:
        if wanted.uid:
            self._ask(Attributes(requestor, verb, _AUTHENTICATION, "v1", "uids", name=wanted.uid))
        for group in wanted.groups:
            self._ask(Attributes(requestor, verb, group_of_groups, "v1", "groups", name=group))
        for key, values in wanted.extra.items():
            for value in values:
                self._ask(Attributes(requestor, verb, _AUTHENTICATION, "v1", "userextras", key, name=value))

    def _ask(self, attributes: Attributes) -> None:
        decision = self._authorizer.authorize(attributes)
        if not decision.is_allowed:
            raise forbidden(attributes, decision.reason)


def _wanted(request: Request) -> User:
    headers = request.headers
    extra: dict[str, tuple[str, ...]] = {}
    for header in headers:
        if header.startswith(_EXTRA):
            extra[unquote(header.removeprefix(_EXTRA)).lower()] = tuple(_values(headers, header))
    name = headers["impersonate-user"]
    return User(name, headers.get("impersonate-uid", ""), tuple(_values(headers, "impersonate-group")), extra)


def _standing(wanted: User, groups: tuple[str, ...]) -> User:
    """The user with `groups`, and with system:authenticated or, for the anonymous user, system:unauthenticated."""
    standing = SYSTEM_UNAUTHENTICATED if wanted.name == ANONYMOUS else SYSTEM_AUTHENTICATED
    if standing not in groups and SYSTEM_UNAUTHENTICATED not in groups:
        groups = (*groups, standing)
    return User(wanted.name, wanted.uid, groups, wanted.extra)


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    return [value for value in values_of(headers, name) if value]
