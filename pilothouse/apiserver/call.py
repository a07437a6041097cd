"""One request on its way through the API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pilothouse.api.status import Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.negotiate import PLAIN, Output
from pilothouse.apiserver.route import Query, RequestInfo
from pilothouse.kit.http.message import Request

SeriesOf = dict[Any, Any]
"""Of one kind at one version: what its requests are counted by, kept by the metrics."""


class Authorizer(Protocol):
    async def authorize(self, user: User, info: RequestInfo, annotations: dict[str, str] | None = None) -> None:
        """Return if `user` may do this. Raises Forbidden with upstream's message, FilterFailed.

        What is decided becomes `annotations` of the audit log, where the request is recorded.
        """


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
    annotations: dict[str, str] | None = None
    """What the audit log is to say of the request, by key; None if it is not recorded."""
    authorizer: Authorizer | None = None
    """Asked again by what a request does beside its own verb; without one nothing more is allowed."""
    headers: Mapping[str, str] | None = None
    """What flow control says of the request in the answer's headers."""
    allowed_s: float | None = None
    """How long the request may take; None if it has no set end."""
    seat: Any = None
    """Flow control's."""
    waited_s: float = 0.0
    """How long the request had to wait before it was begun."""
    series: SeriesOf | None = None
    """What the kind that the request has reached is counted by; None while it has reached none."""
    is_deprecated: bool = False
    record: Any = None
    """The auditor's."""
    recorded: Callable[[Any], None] | None = None
    """Told the object or the patch that the client sent, as it is decoded, where that is recorded."""

    def annotate(self, key: str, value: str) -> None:
        """Say something of the request to the audit log. What has been said under a key stays."""
        if self.annotations is not None:
            self.annotations.setdefault(key, value)

    async def authorize(self, verb: str) -> None:
        """Check that the user may do `verb` as well to what the request is about. Raises Forbidden."""
        if self.authorizer is None:
            raise Forbidden(f"{verb} of {self.info.group_resource} is not allowed here")
        await self.authorizer.authorize(self.user, self.info._replace(verb=verb))
