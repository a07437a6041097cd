"""How long a request may take: `--request-timeout`, or less where the client says so with `?timeout=`.

Requests without a set end (watches, connections to pods, logs, proxies) are exempt. A request that takes too long is interrupted where
it waits, and answered 504. A write has its own bound besides, as upstream's handlers of writes have. Source: apiserver
`pkg/endpoints/filters/request_deadline.go`, `pkg/server/filters/timeout.go`, `pkg/endpoints/handlers/rest.go`.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pilothouse.api.duration import go_duration
from pilothouse.api.status import BadRequest, Timeout
from pilothouse.apiserver.route import Query, RequestInfo, is_long_running
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.resumed import Resumed

REQUEST_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 34.0
_WRITES = frozenset({"create", "update", "patch", "delete"})
_Result = TypeVar("_Result")


class RequestTimedOut(Timeout):
    """The request as a whole has taken too long."""


def time_allowed_s(info: RequestInfo, query: Query, longest_s: float) -> float | None:
    """How long the request may take; None for one that may go on for ever. Raises BadRequest."""
    is_plain = info.verb == "get" and not info.subresource and info.is_resource
    if not is_plain and is_long_running(info):
        return None
    allowed_s = longest_s
    if query and (asked := query.get("timeout", "")):
        try:
            asked_s = go_duration(asked).total_seconds()
        except ValueError as error:
            raise BadRequest(f"invalid timeout specified in the request URL - {error}") from None
        if 0 < asked_s < longest_s:
            allowed_s = asked_s
    return min(allowed_s, WRITE_TIMEOUT_S) if info.verb in _WRITES and info.is_resource else allowed_s


async def within(allowed_s: float, began: float, clock: Clock, work: Resumed[_Result]) -> _Result:
    """What `work` gives, if it is done by `allowed_s` after `began`. Raises RequestTimedOut, Timeout for a write's own bound."""
    is_late = False

    def interrupt() -> None:
        nonlocal is_late
        is_late = True
        work.interrupt()

    timer = clock.call_later(began + allowed_s - clock.monotonic(), interrupt)
    try:
        return await work
    except asyncio.CancelledError:
        if not is_late:
            raise
        if allowed_s == WRITE_TIMEOUT_S:
            why = "request did not complete within requested timeout - context deadline exceeded"
            raise Timeout(f"Timeout: {why}") from None
        raise RequestTimedOut("Timeout: request did not complete within the allotted timeout") from None
    finally:
        timer.cancel()
