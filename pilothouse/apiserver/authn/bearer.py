"""Bearer tokens: where they stand in a request, who judges them, and how long a judgement is kept.

Source: apiserver `pkg/authentication/request/{bearertoken,websocket}`, `token/{union,cache}`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pilothouse.api.status import Unauthorized, aggregate
from pilothouse.api.user import User, authenticated
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Request

CACHE_S = 10.0
_MAX_CACHED = 4096
ANNOTATIONS = "authentication annotations"
"""Under which a request's context has what its token says to the audit log."""
WARNINGS = "authentication warnings"
"""Likewise what its sender is to be warned of."""
_SPACE = "the provided Authorization header contains extra space before the bearer token, and is ignored"
_WEBSOCKET_PREFIX = "base64url.bearer.authorization.k8s.io."


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose a token is. `audiences` are those of the audiences asked for that it is meant for."""

    user: User
    audiences: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What the audit log is to say of the token."""
    warnings: tuple[str, ...] = ()
    """What its sender is to be warned of."""


class TokenMethod(Protocol):
    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        """Who `token` is, or None if it is not of this kind. Raises Unauthorized for one that is not accepted."""


class BearerTokens:
    """The tokens of requests, and of TokenReviews."""

    def __init__(self, methods: Sequence[TokenMethod], audiences: tuple[str, ...], clock: Clock) -> None:
        """`audiences` are those of the API server itself."""
        self._methods = tuple(methods)
        self.audiences = audiences
        self._clock = clock
        self._key = os.urandom(32)
        self._cache: dict[tuple[bytes, tuple[str, ...]], tuple[float, Verified]] = {}

    async def authenticate(self, request: Request) -> User | None:
        token = token_of(request)
        if not token:
            return None
        verified = await self.verify(token, self.audiences)
        if verified.annotations:
            request.context[ANNOTATIONS] = verified.annotations
        if verified.warnings:
            request.context.setdefault(WARNINGS, []).extend(verified.warnings)
        return verified.user

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified:
        """Who `token` is, if it is meant for one of `audiences`. Raises Unauthorized; the message says why."""
        key = hashlib.blake2b(token.encode(errors="surrogatepass"), key=self._key).digest(), audiences
        now = self._clock.monotonic()
        if (cached := self._cache.get(key)) is not None and now < cached[0]:
            return cached[1]
        verified = await self._ask(token, audiences)
        if len(self._cache) >= _MAX_CACHED:
            self._cache = {kept: entry for kept, entry in self._cache.items() if now < entry[0]}
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
        self._cache[key] = now + CACHE_S, verified
        return verified

    async def _ask(self, token: str, audiences: tuple[str, ...]) -> Verified:
        # Upstream asks first whether it is its own client's, and that it is not remains the first of what is wrong.
        errors = ["invalid bearer token"]
        for method in self._methods:
            try:
                verified = await method.verify(token, audiences)
            except Unauthorized as error:
                errors.append(error.message)
                continue
            if verified is not None:
                return replace(verified, user=authenticated(verified.user))
        raise Unauthorized(aggregate(errors))


def token_of(request: Request) -> str:
    """The bearer token of a request, from its Authorization header or a WebSocket's subprotocol; empty if there is none.

    Raises Unauthorized for a subprotocol that does not decode.
    """
    if authorization := request.headers.get("authorization", "").strip():
        scheme, *rest = authorization.split(" ", 2)
        if scheme.lower() == "bearer" and rest:
            if rest[0]:
                return rest[0]
            request.context.setdefault(WARNINGS, []).append(_SPACE)
    protocols = request.headers.get("sec-websocket-protocol", "")
    if _WEBSOCKET_PREFIX not in protocols:
        return ""
    for protocol in protocols.split(","):
        if protocol.strip().startswith(_WEBSOCKET_PREFIX):
            encoded = protocol.strip().removeprefix(_WEBSOCKET_PREFIX)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise Unauthorized("invalid base64.bearer.authorization encoding") from error
    return ""
