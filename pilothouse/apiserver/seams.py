"""What the API server's chain asks of its links, and who answers in its place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from pilothouse.api.meta import Object
from pilothouse.api.user import User
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.metrics import Family

Connector = Callable[[Call], Awaitable[Response]]
"""Serves a subresource that speaks no objects (log, exec, attach, portforward, proxy), or a path outside the resources."""

Answerer = Callable[[Call, Object], Awaitable[Object]]
"""Answers an object that was posted and is not kept (reviews, token requests). The object is decoded, defaulted and checked."""


class Authenticator(Protocol):
    async def authenticate(self, request: Request) -> User:
        """Who the request comes from; anonymous where that is allowed. Raises Unauthorized."""


class Impersonator(Protocol):
    async def impersonate(self, request: Request, user: User) -> tuple[User, str]:
        """Whom the request is done as: `user`, or the one that its `Impersonate-*` headers name, and the verb that restricts it.

        Raises Forbidden, BadRequest.
        """


class Fairness(Protocol):
    """Seats are the fairness's own; of one, `waiting` says whether to wait for it. The answer's headers are put into the call."""

    def take(self, call: Call) -> Any:
        """A seat, held while the request is worked on. Raises Rejected."""

    async def wait(self, seat: Any, call: Call) -> None:
        """Until the request may begin. Raises Rejected, after which the seat is gone."""

    def done(self, seat: Any) -> None:
        """Give the seat back."""

    def goes_on(self, seat: Any) -> None:
        """The request could not be answered at once, or is over after that."""

    def executed(self, seat: Any, seconds: float) -> None:
        """The request was answered, so long after it could begin."""


class Auditor(Protocol):
    """Records are the auditor's own."""

    def families(self) -> Iterable[Family]:
        """What it has counted, for `/metrics`."""

    async def run(self) -> None:
        """Keep what it records into at work, until cancelled."""

    async def received(self, audit_id: str, request: Request, info: RequestInfo, user: User) -> Any:
        """Take note of a request, which `user` sent; None if it is not recorded. Raises FilterFailed.

        Links of the chain write into the record's `annotations`, and tell its `sent` which object was sent.
        """

    def refused(self, audit_id: str, request: Request, info: RequestInfo) -> Any:
        """Take note of a request whose sender did not prove who he is; None if it is not recorded."""

    def impersonated(self, record: Any, user: User, constraint: str) -> None:
        """Take note of whom a request is done as, and of the verb that restricts it."""

    async def answered(self, record: Any, response: Response) -> None:
        """Take note of its answer."""
