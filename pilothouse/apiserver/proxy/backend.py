"""Connections to what is behind the API server: one for each request, so that streams of any length disturb nobody.

A plain request is answered in chunks as they come; a request to leave HTTP becomes a tunnel whose bytes nobody here looks at, so the
two ends choose their protocol (SPDY/3.1, WebSocket) themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from pilothouse.api import status
from pilothouse.kit.http import tunnel as tunnels
from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout
from pilothouse.kit.http.message import LOCAL_PEER, Peer, Response
from pilothouse.kit.http.tunnel import CONNECT_TIMEOUT_S, HEAD_TIMEOUT_S, Target, without_hop_headers

_ERROR_BYTES = 16 * 1024
_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""A browser's way to send its token with a WebSocket."""


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go on to the next connection; what identified the client to the API server stays here."""
    kept = {
        name: value
        for name, value in without_hop_headers(headers).items()
        if name != "authorization" and not name.startswith(("impersonate-", "x-remote-"))
    }
    if (protocols := kept.get("sec-websocket-protocol")) and _TOKEN_PROTOCOL in protocols:
        others = [text.strip() for text in protocols.split(",") if not text.strip().startswith(_TOKEN_PROTOCOL)]
        kept["sec-websocket-protocol"] = ", ".join(others)
    return kept


def with_client(headers: Mapping[str, str], peer: Peer) -> dict[str, str]:
    """`headers` with the client added to those for whom the request was passed on before."""
    if peer is LOCAL_PEER or not peer.address:
        return dict(headers)
    before = headers.get("x-forwarded-for")
    return {**headers, "x-forwarded-for": f"{before}, {peer.address}" if before else peer.address}


class _Body:
    """An answer's body that lets go of its connection when it is closed, also before it was begun."""

    def __init__(self, chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        self._chunks = chunks
        self._stack = stack

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunks.__anext__()
        except StopAsyncIteration:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        await self._stack.aclose()


async def fetch(
    method: str, target: Target, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, Mapping[str, str], AsyncIterator[bytes]]:
    """The status, headers and body of a request; the caller reads the body to its end or calls its `aclose`.

    Raises ServiceUnavailable if the target cannot be reached.
    """
    pool = HttpPool(
        target.host,
        target.port,
        ssl_context=target.ssl_context,
        server_name=target.server_name,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        timeout_s=HEAD_TIMEOUT_S,
    )
    await _in_task()
    stack = AsyncExitStack()
    stack.push_async_callback(pool.close)
    try:
        answer = await stack.enter_async_context(pool.stream(method, target.line, headers=headers, body=body))
    except (ConnectionFailed, ResponseTimeout) as error:
        await stack.aclose()
        raise unreachable(target, error) from error
    except BaseException:
        await stack.aclose()
        raise
    return answer.status, answer.headers, _Body(answer.chunks, stack)


async def read_some(body: AsyncIterator[bytes], limit: int = _ERROR_BYTES) -> bytes:
    """The beginning of a body, which is then closed: for error texts."""
    text = b""
    try:
        async for chunk in body:
            text += chunk
            if len(text) >= limit:
                break
    except ConnectionFailed:
        pass
    finally:
        if isinstance(body, _Body):
            await body.aclose()
    return text[:limit]


async def tunnel(
    method: str,
    target: Target,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    upgrade: str = "",
    peer: Peer = LOCAL_PEER,
) -> Response:
    """Pass a request of `peer` to leave HTTP on. If the target agrees the answer takes the connection over, else it is its refusal.

    With `upgrade`, the protocol to leave HTTP for, `headers` go on as they are. Raises StatusError if the target cannot be reached.
    """
    await _in_task()
    try:
        if upgrade:
            return await tunnels.tunnel(method, target, upgrade, headers, body)
        kept = with_client(passed_on(headers), peer)
        answer = await tunnels.tunnel(method, target, headers["upgrade"], kept, body)
    except ConnectionFailed as error:
        # Upstream's proxy of upgrades gives its errors no reason, and clients match on these words.
        raise status.StatusError(
            f"error dialing backend: dial tcp {target.authority}: {_text(error)}", code=500
        ) from error
    except ValueError as error:
        raise status.BadRequest(str(error)) from error
    if answer.takeover is None and answer.status < 400:
        raise status.StatusError(f"invalid upgrade response: status code {answer.status}", code=500)
    return answer


async def _in_task() -> None:
    """Up to its first suspension a request is worked on outside a task, where no time-out can be set."""
    await asyncio.sleep(0)


def unreachable(target: Target, error: BaseException) -> status.StatusError:
    """The error for a target that does not answer, as the proxy of upstream words it."""
    return status.ServiceUnavailable(f"error trying to reach service: dial tcp {target.authority}: {_text(error)}")


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
