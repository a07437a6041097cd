"""One request on its way through the API server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pilothouse.api.status import Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.negotiate import PLAIN, Output
from pilothouse.apiserver.route import Query, RequestInfo
from pilothouse.kit.http.message import Request


class Authorizer(Protocol):
    async def authorize(self, user: User, info: RequestInfo) -> None:
        """Return if `user` may do this. Raises Forbidden with upstream's message."""


@dataclass(slots=True)
class Call:
    """What the links of the chain know of a request. `user` is who it is done as: the impersonated one where there is one."""

    request: Request
    info: RequestInfo
    query: Query
    user: User
    output: Output = PLAIN
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning` headers, in order; duplicates are sent once."""
    authorizer: Authorizer | None = None
    """Asked again by what a request does beside its own verb; without one nothing more is allowed."""

    async def authorize(self, verb: str) -> None:
        """Check that the user may do `verb` as well to what the request is about. Raises Forbidden."""
        if self.authorizer is None:
            raise Forbidden(f"{verb} of {self.info.group_resource} is not allowed here")
        await self.authorizer.authorize(self.user, self.info._replace(verb=verb))
