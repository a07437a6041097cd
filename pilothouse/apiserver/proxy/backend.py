"""Connections to what is behind the API server: one for each request, so that streams of any length disturb nobody.

A plain request is answered in chunks as they come; a request to leave HTTP becomes a tunnel whose bytes nobody here looks at, so the
two ends choose their protocol (SPDY/3.1, WebSocket) themselves.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from pilothouse.api import status
from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout
from pilothouse.kit.http.message import Response

CONNECT_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 60.0
_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES = 64 * 1024
_ERROR_BYTES = 16 * 1024
_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""A browser's way to send its token with a WebSocket."""
HOP_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one connection, which are not passed on to another (RFC 9110, 7.6.1)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes on to. `ssl_context` None is plain HTTP; `path` is percent-encoded and begins with a slash."""

    host: str
    port: int
    path: str
    query: str = ""
    ssl_context: ssl.SSLContext | None = None

    @property
    def line(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go on to the next connection; what identified the client to the API server stays here."""
    named = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    kept = {
        name: value
        for name, value in headers.items()
        if name not in HOP_HEADERS
        and name not in named
        and name != "authorization"
        and not name.startswith(("impersonate-", "x-remote-"))
    }
    if (protocols := kept.get("sec-websocket-protocol")) and _TOKEN_PROTOCOL in protocols:
        others = [text.strip() for text in protocols.split(",") if not text.strip().startswith(_TOKEN_PROTOCOL)]
        kept["sec-websocket-protocol"] = ", ".join(others)
    return kept


def wants_upgrade(headers: Mapping[str, str]) -> bool:
    tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return "upgrade" in tokens and bool(headers.get("upgrade"))


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
        connect_timeout_s=CONNECT_TIMEOUT_S,
        timeout_s=HEAD_TIMEOUT_S,
    )
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


async def tunnel(method: str, target: Target, headers: Mapping[str, str], body: bytes = b"") -> Response:
    """Pass a request to leave HTTP on. If the target agrees the answer takes the connection over, else it is the target's refusal.

    Raises ServiceUnavailable if the target cannot be reached.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=target.ssl_context, limit=_HEAD_BYTES
            )
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise unreachable(target, error) from error
    try:
        writer.write(_request_head(method, target, headers, body) + body)
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            code, answer = _parse_head(await reader.readuntil(b"\r\n\r\n"))
            if code != 101:
                length = int(answer.get("content-length") or _ERROR_BYTES)
                text = b"" if length == 0 else await _read_up_to(reader, min(length, _ERROR_BYTES))
                kept = {name: value for name, value in answer.items() if name not in HOP_HEADERS}
                writer.close()
                return Response(code, kept, text)
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
        writer.close()
        raise unreachable(target, error) from error
    except BaseException:
        writer.close()
        raise

    async def take_over(client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        await join((client_reader, client_writer), (reader, writer))

    return Response(101, answer, takeover=take_over)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until either side ends; then both are closed."""
    try:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(_carry(one[0], other[1]))
            second = tasks.create_task(_carry(other[0], one[1]))
            first.add_done_callback(lambda _: second.cancel())
            second.add_done_callback(lambda _: first.cancel())
    finally:
        one[1].close()
        other[1].close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    except (ConnectionError, ssl.SSLError):
        return


async def _read_up_to(reader: asyncio.StreamReader, limit: int) -> bytes:
    text = b""
    while len(text) < limit and (chunk := await reader.read(limit - len(text))):
        text += chunk
    return text


def _request_head(method: str, target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target.line} HTTP/1.1", f"host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in passed_on(headers).items()]
    lines += ["connection: Upgrade", f"upgrade: {headers['upgrade']}"]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"content-length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise status.BadRequest("a header has a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """The status code and the headers of an answer. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("the answer is not HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, found, value = line.partition(":")
        if found:
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return int(rest[:3]), headers


def unreachable(target: Target, error: BaseException) -> status.StatusError:
    """The error for a target that does not answer, as the proxy of upstream words it."""
    text = str(error) or type(error).__name__
    return status.ServiceUnavailable(f"error trying to reach service: dial tcp {target.authority}: {text}")
