"""The API server: the chain that a request goes through, in order, and what it is made of.

RequestInfo → authenticate → audit → impersonate → fairness → authorize → verb.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pilothouse.api.meta import Object
from pilothouse.api.user import User
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.http.message import Request, Response

Connector = Callable[[Call], Awaitable[Response]]
"""Serves a subresource that speaks no objects (log, exec, attach, portforward, proxy), or a path outside the resources."""

Answerer = Callable[[Call, Object], Awaitable[Object]]
"""Answers an object that was posted and is not kept (reviews, token requests). The object is decoded, defaulted and checked."""


class Authenticator(Protocol):
    async def authenticate(self, request: Request) -> User:
        """Who the request comes from; anonymous where that is allowed. Raises Unauthorized."""


class Impersonator(Protocol):
    async def impersonate(self, request: Request, user: User) -> User:
        """Whom the request is done as: `user`, or the one that its `Impersonate-*` headers name. Raises Forbidden, BadRequest."""


class Authorizer(Protocol):
    async def authorize(self, user: User, info: RequestInfo) -> None:
        """Return if `user` may do this. Raises Forbidden with upstream's message."""


class Fairness(Protocol):
    def seat(self, user: User, info: RequestInfo) -> AbstractAsyncContextManager[None]:
        """Held while the request is worked on. Raises TooManyRequests on entry."""


class Auditor(Protocol):
    def received(self, audit_id: str, call: Call) -> None: ...

    def answered(self, audit_id: str, call: Call, status: int) -> None: ...
