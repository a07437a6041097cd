"""One request on its way through the API server."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.api.user import User
from pilothouse.apiserver.negotiate import PLAIN, Output
from pilothouse.apiserver.route import Query, RequestInfo
from pilothouse.kit.http.message import Request


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
