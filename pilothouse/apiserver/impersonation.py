"""Doing a request as somebody else.

There are several modes, tried in order until one allows it. A constrained mode takes two rights: `impersonate:<mode>` on who is
impersonated, and `impersonate-on:<mode>:<verb>` on what is then done, so that an agent may, say, list pods as its node and nothing else.
The last mode is the old one: the verb `impersonate`, for any request. Who has none of these is told what the first mode lacks.
Source: apiserver `pkg/endpoints/filters/impersonation`, KEP-5284.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from pilothouse.api.identities import (
    ANONYMOUS,
    NODE_PREFIX,
    SYSTEM_AUTHENTICATED,
    SYSTEM_MASTERS,
    SYSTEM_NODES,
    SYSTEM_UNAUTHENTICATED,
)
from pilothouse.api.path import FieldError, Path
from pilothouse.api.status import Forbidden
from pilothouse.api.user import User, service_account_groups
from pilothouse.api.validate.values import check_domain_prefixed_path
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Decision, forbidden
from pilothouse.apiserver.authz.gate import DURATIONS_S, attributes_of
from pilothouse.apiserver.errors import NotImpersonated
from pilothouse.apiserver.route import parse_query, request_info
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.fields import values_of
from pilothouse.kit.http.message import Request
from pilothouse.kit.metrics import Family, Histogram, labelled

_AUTHENTICATION = "authentication.k8s.io"
_EXTRA = "impersonate-extra-"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_is_node_name = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*").fullmatch
_MANY = 4
"""From how many groups, or values in extra, a constrained mode first asks for the right to all of them."""


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
    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._monotonic = clock.monotonic
        self.attempts: dict[tuple[str, str], Histogram] = {}
        """How long impersonations took, by mode and by whether it was `allowed` or `denied`, which has no mode."""
        self.questions: dict[tuple[str, str], Histogram] = {}
        """How long the authorizer took that was asked for it, likewise."""

    async def impersonate(self, request: Request, user: User) -> tuple[User, str]:
        """Whom the request is done as, and the verb of the constrained mode that allowed it, if one did.

        Raises BadRequest without a user's name, Forbidden for what `user` may not impersonate.
        """
        if not request.headers.get("impersonate-user"):
            for header in request.headers:
                if header.startswith("impersonate-") and header != "impersonate-user":
                    raise NotImpersonated(f"requested {_asked(request)} without impersonating a user name")
            return user, ""
        wanted = _wanted(request)
        info = request_info(request.method, request.path, parse_query(request.query))
        action = attributes_of(user, info)
        first: Forbidden | None = None
        began = self._monotonic()
        for mode in MODES:
            if mode.applies(user, wanted):
                try:
                    found = await self._constrained(mode.name, wanted, action)
                except Forbidden as error:
                    first = first or error
                else:
                    self._count(self.attempts, mode.name, began, is_allowed=True)
                    return found, f"impersonate:{mode.name}"
        try:
            found = await self._legacy(user, wanted)
        except Forbidden as error:
            self._count(self.attempts, "", began, is_allowed=False)
            raise first or error from None
        self._count(self.attempts, "legacy", began, is_allowed=True)
        return found, ""

    async def _constrained(self, mode: str, wanted: User, action: Attributes) -> User:
        if mode == "associated-node":
            # That the node is its own has been checked. The right must hold for all nodes, whatever else the token says.
            keys = {"authentication.kubernetes.io/associated-node-keys": tuple(sorted(action.user.extra))}
            action = action._replace(user=replace(action.user, extra=keys))
        await self._ask(action._replace(verb=f"impersonate-on:{mode}:{action.verb}"))
        question = Attributes(action.user, f"impersonate:{mode}", _AUTHENTICATION, "v1")
        groups = wanted.groups
        if node := _node_of(wanted):
            await self._ask(question._replace(resource="nodes", name="*" if mode == "associated-node" else node))
            groups = (SYSTEM_NODES,)
        elif wanted.service_account is not None:
            namespace, name = wanted.service_account
            await self._ask(question._replace(resource="serviceaccounts", namespace=namespace, name=name))
            groups = service_account_groups(namespace)
        else:
            await self._ask(question._replace(resource="users", name=wanted.name))
        await self._ask_uid(question, wanted)
        _refuse_groups(question, wanted.groups)
        if len(wanted.groups) < _MANY or not await self._may(question._replace(resource="groups", name="*")):
            await self._ask_groups(question, wanted.groups)
        _refuse_extra(question, wanted.extra)
        has_many = len(wanted.extra) >= _MANY or sum(map(len, wanted.extra.values())) >= _MANY
        everything = question._replace(resource="userextras", subresource="*", name="*")
        if not has_many or not await self._may(everything):
            await self._ask_extra(question, wanted.extra)
        return _standing(wanted, groups)

    async def _legacy(self, requestor: User, wanted: User) -> User:
        question = Attributes(requestor, "impersonate", "", "v1")
        details = question._replace(group=_AUTHENTICATION)
        groups = wanted.groups
        if wanted.service_account is not None:
            namespace, name = wanted.service_account
            await self._ask(question._replace(resource="serviceaccounts", namespace=namespace, name=name))
            groups = groups or service_account_groups(namespace)
        else:
            await self._ask(question._replace(resource="users", name=wanted.name))
        await self._ask_uid(details, wanted)
        await self._ask_groups(question, wanted.groups)
        await self._ask_extra(details, wanted.extra)
        return _standing(wanted, groups)

    async def _ask_uid(self, question: Attributes, wanted: User) -> None:
        if wanted.uid:
            await self._ask(question._replace(resource="uids", name=wanted.uid))

    async def _ask_groups(self, question: Attributes, groups: Sequence[str]) -> None:
        for group in groups:
            await self._ask(question._replace(resource="groups", name=group))

    async def _ask_extra(self, question: Attributes, extra: Mapping[str, Sequence[str]]) -> None:
        for key, values in extra.items():
            for value in values:
                await self._ask(question._replace(resource="userextras", subresource=key, name=value))

    async def _ask(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        decision = await self._decision(attributes)
        if not decision.is_allowed:
            raise forbidden(attributes, ": ".join(filter(None, (decision.error, decision.reason))))

    async def _may(self, attributes: Attributes) -> bool:
        return (await self._decision(attributes)).is_allowed

    async def _decision(self, attributes: Attributes) -> Decision:
        began = self._monotonic()
        decision = await self._authorizer.authorize(attributes)
        self._count(self.questions, _mode_of(attributes.verb), began, is_allowed=decision.is_allowed)
        return decision

    def _count(self, durations: dict[tuple[str, str], Histogram], mode: str, began: float, *, is_allowed: bool) -> None:
        key = mode, "allowed" if is_allowed else "denied"
        if key not in durations:
            durations[key] = Histogram(DURATIONS_S)
        durations[key].observe(self._monotonic() - began)

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        prefix, split = "apiserver_impersonation_", "split by mode and decision."
        checks = "authorization checks made by the impersonation handler"
        for name, kind, help, values in (
            ("attempts_total", "counter", f"Total number of impersonation attempts {split}", self.attempts),
            (
                "attempts_duration_seconds",
                "histogram",
                f"Latency of impersonation attempts in seconds {split}",
                self.attempts,
            ),
            ("authorization_attempts_total", "counter", f"Total number of {checks} {split}", self.questions),
            (
                "authorization_attempts_duration_seconds",
                "histogram",
                f"Latency of {checks} in seconds {split}",
                self.questions,
            ),
        ):
            yield labelled(prefix + name, kind, f"[ALPHA] {help}", ("mode", "decision"), values)


def _mode_of(verb: str) -> str:
    """`impersonate-on:user-info:list` is user-info."""
    return verb.split(":")[1] if ":" in verb else "legacy"


def _refuse_groups(question: Attributes, groups: Sequence[str]) -> None:
    """What the old mode lets through and a constrained one does not. Raises Forbidden."""
    asked = question._replace(resource="groups")
    if "" in groups:
        raise forbidden(asked, "impersonating the empty string group is not allowed")
    if SYSTEM_MASTERS in groups:
        raise forbidden(asked._replace(name=SYSTEM_MASTERS), "impersonating the system:masters group is not allowed")


def _refuse_extra(question: Attributes, extra: Mapping[str, Sequence[str]]) -> None:
    """Likewise. Keys are in lower case already. Raises Forbidden."""
    asked = question._replace(resource="userextras")
    for key, values in extra.items():
        if not key:
            raise forbidden(asked, "impersonating the empty string key in extra is not allowed")
        faults: list[FieldError] = []
        check_domain_prefixed_path(key, Path("extra.key"), faults)
        if faults:
            text = "; ".join(map(str, faults)) if len(faults) == 1 else f"[{', '.join(map(str, faults))}]"
            raise forbidden(asked, f"impersonating an invalid key in extra is not allowed: {text}")
        if not values:
            raise forbidden(asked, "impersonating empty values in extra is not allowed")
        if "" in values:
            raise forbidden(asked, "impersonating the empty string value in extra is not allowed")


def _asked(request: Request) -> str:
    """What the headers ask for, as upstream's message shows it."""
    wanted = _wanted(request)
    extra = ", ".join(f"{json.dumps(key)}:{_go_strings(values)}" for key, values in wanted.extra.items())
    groups = _go_strings(wanted.groups) if wanted.groups else "[]string(nil)"
    shown = f"map[string][]string{{{extra}}}" if wanted.extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{json.dumps(wanted.uid)}, Groups:{groups}, Extra:{shown}}}'


def _go_strings(values: Sequence[str]) -> str:
    return f"[]string{{{', '.join(map(json.dumps, values))}}}"


def _wanted(request: Request) -> User:
    headers = request.headers
    extra: dict[str, tuple[str, ...]] = {}
    for header in headers:
        if header.startswith(_EXTRA):
            extra[unquote(header.removeprefix(_EXTRA)).lower()] = tuple(values_of(headers, header))
    name, uid = (next(iter(values_of(headers, f"impersonate-{field}")), "") for field in ("user", "uid"))
    return User(name, uid, tuple(values_of(headers, "impersonate-group")), extra)


def _standing(wanted: User, groups: tuple[str, ...]) -> User:
    """The user with `groups`, and with system:authenticated or, for the anonymous user, system:unauthenticated."""
    standing = SYSTEM_UNAUTHENTICATED if wanted.name == ANONYMOUS else SYSTEM_AUTHENTICATED
    if standing not in groups and SYSTEM_UNAUTHENTICATED not in groups:
        groups = (*groups, standing)
    return User(wanted.name, wanted.uid, groups, wanted.extra)
