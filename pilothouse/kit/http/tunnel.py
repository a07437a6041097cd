"""Requests to leave HTTP, passed on to another server.

The two ends choose their protocol (SPDY/3.1, WebSocket) themselves: once the other server agrees, bytes are carried both ways and nobody
here looks at them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from pilothouse.kit.http.client import ConnectionFailed
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.plain_stream import PlainStream, Reader, Writer

CONNECT_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 60.0
GOODBYE_S = 2.0
_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES = 64 * 1024
_ERROR_BYTES = 16 * 1024
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

Stream = tuple[Reader, Writer]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes on to. `ssl_context` None is plain HTTP; `path` is percent-encoded and begins with a slash.

    `server_name` is what the certificate is for, if that is not the host.
    """

    host: str
    port: int
    path: str
    query: str = ""
    ssl_context: ssl.SSLContext | None = None
    server_name: str = ""

    @property
    def line(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True)
class Opened:
    """A connection whose other end has answered the request. `stream` is None where it refused: `refusal` is what it said."""

    code: int
    headers: Mapping[str, str]
    stream: Stream | None
    refusal: bytes = b""

    @property
    def refused(self) -> Response:
        """The other end's refusal as an answer of this server."""
        headers = {name: value for name, value in without_hop_headers(self.headers).items() if name != "date"}
        return Response(self.code, headers, self.refusal)


def without_hop_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go on to the next connection."""
    named = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return {name: value for name, value in headers.items() if name not in HOP_HEADERS and name not in named}


def wants_upgrade(headers: Mapping[str, str]) -> bool:
    tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return "upgrade" in tokens and bool(headers.get("upgrade"))


async def tunnel(method: str, target: Target, upgrade: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
    """Pass a request to leave HTTP for `upgrade` on; `headers` are sent as they are, without those of the connection.

    If the target agrees the answer takes the connection over, else it is the target's refusal. Raises ConnectionFailed if the
    target cannot be reached, ValueError for a header with a line break.
    """
    opened = await open_upgraded(method, target, upgrade, headers, body)
    far = opened.stream
    if far is None:
        return opened.refused

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join((reader, writer), far)

    return Response(101, opened.headers, takeover=take_over)


async def open_upgraded(
    method: str, target: Target, upgrade: str, headers: Mapping[str, str], body: bytes = b""
) -> Opened:
    """Ask a server to leave HTTP for `upgrade`. Raises ConnectionFailed, ValueError for a header with a line break."""
    head = _request_head(method, target, upgrade, headers, body)
    reader: asyncio.StreamReader | PlainStream
    writer: asyncio.StreamWriter | PlainStream
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if target.ssl_context is None:
                reader = writer = await PlainStream.connect(target.host, target.port)
            else:
                reader, writer = await asyncio.open_connection(
                    target.host,
                    target.port,
                    ssl=target.ssl_context,
                    server_hostname=target.server_name or None,
                    limit=_HEAD_BYTES,
                )
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise ConnectionFailed(str(error) or type(error).__name__) from error
    try:
        writer.write(head + body)
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            await writer.drain()
            code, answer = _parse_head(await _read_head(reader))
            if code == 101:
                return Opened(code, answer, (reader, writer))
            length = int(answer.get("content-length") or _ERROR_BYTES)
            text = b"" if length == 0 else await _read_up_to(reader, min(length, _ERROR_BYTES))
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
        writer.close()
        raise ConnectionFailed(str(error) or type(error).__name__) from error
    except BaseException:
        writer.close()
        raise
    writer.close()
    return Opened(code, answer, None, text)


async def _read_head(reader: asyncio.StreamReader | PlainStream) -> bytes:
    if isinstance(reader, PlainStream):
        return await reader.readuntil(b"\r\n\r\n", _HEAD_BYTES)
    return await reader.readuntil(b"\r\n\r\n")


async def join(client: Stream, far: Stream) -> None:
    """Carry bytes both ways until either side ends; then both are closed.

    When the far side ends, the client gets a moment to take what is on its way: a connection that is closed while something that the
    client has sent is unread is reset, and what the client has not read yet is lost.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            coming = tasks.create_task(_carry(client[0], far[1]))
            going = tasks.create_task(_carry(far[0], client[1]))
            coming.add_done_callback(lambda _: going.cancel())
            await asyncio.wait([going])
            await asyncio.wait([coming], timeout=GOODBYE_S)
            coming.cancel()
    finally:
        client[1].close()
        far[1].close()


async def _carry(source: Reader, sink: Writer) -> None:
    """Until the source ends. What a sink does not take any more is dropped: that it has ended is seen where it is read."""
    is_open = True
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            if is_open:
                try:
                    sink.write(chunk)
                    await sink.drain()
                except OSError:
                    is_open = False
    except OSError:
        return


async def _read_up_to(reader: Reader, limit: int) -> bytes:
    text = b""
    while len(text) < limit and (chunk := await reader.read(limit - len(text))):
        text += chunk
    return text


def _request_head(method: str, target: Target, upgrade: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target.line} HTTP/1.1", f"host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["connection: Upgrade", f"upgrade: {upgrade}"]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"content-length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header has a line break")
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
