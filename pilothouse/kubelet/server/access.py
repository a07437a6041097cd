"""Who may ask the kubelet what.

A client is known by its certificate, which TLS has verified, or by a bearer token, which the API server reviews. What it may do the API
server decides: each path is a subresource of the node. Answers are remembered for a while, denials shorter than permissions. Source:
`pkg/kubelet/server/auth.go`, KEP-2862; `webhook` defaults of KubeletConfiguration.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from pilothouse.api.gvr import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from pilothouse.api.meta import NodeName
from pilothouse.api.status import StatusError
from pilothouse.api.user import User, anonymous, authenticated
from pilothouse.client.client import Client
from pilothouse.kit import certificate
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Request
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.server.refusal import Refused

log = get_logger("pilothouse.kubelet.access")

TOKEN_S = 120.0
ALLOWED_S = 300.0
DENIED_S = 30.0
_REMEMBERED = 1024
_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_FINE = (("/pods", "pods"), ("/healthz", "healthz"), ("/configz", "configz"), ("/runningpods", "pods"))
_COARSE = (("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"))

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values that hold for a time. Bounded: the oldest goes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._clock.monotonic() else None

    def put(self, key: Key, value: Value, seconds: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (self._clock.monotonic() + seconds, value)
        if len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)


def subresources(path: str) -> tuple[str, ...]:
    """The subresources of a node that stand for a path, the finest first: any of them lets a request pass."""
    fine = tuple(name for prefix, name in _FINE if path == prefix or path.startswith(f"{prefix}/"))
    coarse = next((name for prefix, name in _COARSE if path == prefix or path.startswith(f"{prefix}/")), "proxy")
    return (*fine, coarse)


class Access:
    """Decides about requests. `check` raises Refused."""

    def __init__(
        self, client: Client, node_name: NodeName, clock: Clock, *, anonymous_auth: bool, always_allow: bool
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._anonymous_auth = anonymous_auth
        self._always_allow = always_allow
        self._certificates: Remembered[bytes, tuple[User, float, float]] = Remembered(clock)
        self._tokens: Remembered[bytes, User | str] = Remembered(clock)
        self._decisions: Remembered[tuple[str, ...], bool] = Remembered(clock)

    async def check(self, request: Request) -> None:
        """Return if the request may be served; raise Refused with 401, 403 or 500."""
        user = await self._user(request)
        if self._always_allow:
            return
        verb = _VERBS.get(request.method, "")
        names = subresources(request.path)
        for name in names:
            if await self._may(user, verb, name, request.path):
                return
        raise Refused(
            403,
            f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(names)}])\n",
        )

    async def _user(self, request: Request) -> User:
        if (der := request.peer.certificate) is not None:
            return self._certified(der)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self._bearer(token.strip())
        if self._anonymous_auth:
            return anonymous()
        raise Refused(401, "Unauthorized")

    def _certified(self, der: bytes) -> User:
        known = self._certificates.get(der)
        if known is None:
            facts = certificate.read(der)
            user = authenticated(User(facts.common_name, groups=facts.organizations))
            known = user, facts.not_before, facts.not_after
            self._certificates.put(der, known, ALLOWED_S)
        user, begin, end = known
        # The handshake may have been long ago.
        if not user.name or not begin <= self._clock.now() <= end:
            raise Refused(401, "Unauthorized")
        return user

    async def _bearer(self, token: str) -> User:
        key = hashlib.sha256(token.encode()).digest()
        known = self._tokens.get(key)
        if known is None:
            known = await self._review(token)
            self._tokens.put(key, known, TOKEN_S if isinstance(known, User) else DENIED_S)
        if isinstance(known, User):
            return known
        log.info("token refused", reason=known)
        raise Refused(401, "Unauthorized")

    async def _review(self, token: str) -> User | str:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}}
        try:
            answer = await self._client.create(TOKEN_REVIEWS, {**review, "spec": {"token": token}})
        except StatusError as error:
            log.warning("token not reviewed", error=str(error))
            raise Refused(401, "Unauthorized") from error
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            return str(status.get("error") or "the API server does not know it")
        return _user_of(status.get("user") or {})

    async def _may(self, user: User, verb: str, subresource: str, path: str) -> bool:
        extra = tuple(f"{name}={','.join(values)}" for name, values in sorted(user.extra.items()))
        key = (user.name, user.uid, *user.groups, "", *extra, "", verb, subresource)
        known = self._decisions.get(key)
        if known is not None:
            return known
        spec: dict[str, Any] = {
            "resourceAttributes": {
                "verb": verb,
                "version": "v1",
                "resource": "nodes",
                "subresource": subresource,
                "name": self._node_name,
            },
            "user": user.name,
            "groups": list(user.groups),
        }
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra.items()}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}
        try:
            answer = await self._client.create(SUBJECT_ACCESS_REVIEWS, review)
        except StatusError as error:
            log.warning("access not reviewed", user=user.name, verb=verb, path=path, error=str(error))
            subject = f"user={user.name}, verb={verb}, resource=nodes, subresource={subresource}"
            raise Refused(500, f"Authorization error ({subject})") from error
        allowed = bool((answer.get("status") or {}).get("allowed"))
        self._decisions.put(key, allowed, ALLOWED_S if allowed else DENIED_S)
        return allowed


def _user_of(info: dict[str, Any]) -> User:
    extra = {name: tuple(values) for name, values in (info.get("extra") or {}).items()}
    return User(info.get("username", ""), info.get("uid", ""), tuple(info.get("groups") or ()), extra)
