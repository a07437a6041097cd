"""Requests to leave HTTP that are passed on, and the connections that they become."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.client import ConnectionFailed
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.plain_stream import PlainStream
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tunnel import Target, open_upgraded, tunnel, wants_upgrade, without_hop_headers

AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
Serve = Callable[[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server for raw connections and gives its port."""
    made: list[asyncio.Server] = []

    async def start(handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> int:
        made.append(await asyncio.start_server(handler, "127.0.0.1", 0))
        return int(made[-1].sockets[0].getsockname()[1])

    yield start
    for server in made:
        server.close()
        await server.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as the kernel does when something that was received is unread."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def test_headers_of_the_connection_stay() -> None:
    headers = {"connection": "Upgrade, X-Mine", "upgrade": "raw", "x-mine": "1", "x-other": "2", "host": "a"}
    assert wants_upgrade(headers)
    assert not wants_upgrade({"upgrade": "raw"})
    assert without_hop_headers(headers) == {"x-other": "2"}


async def test_a_refusal_is_the_answer(serve: Serve) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nDate: x\r\nX-Why: no\r\nContent-Length: 4\r\n\r\nnono")
        writer.close()

    answer = await tunnel("GET", Target("127.0.0.1", await serve(refuse), "/x"), "raw", {})
    assert (answer.status, answer.headers, answer.body) == (403, {"x-why": "no"}, b"nono")
    assert answer.takeover is None


@pytest.mark.parametrize(
    "answer", [b"", b"noise\r\n\r\n", b"HTTP/1.1 101 Sw", b"HTTP/1.1 what\r\n\r\n", b"x" * 200_000]
)
async def test_what_is_no_answer(serve: Serve, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    with pytest.raises(ConnectionFailed):
        await open_upgraded("GET", Target("127.0.0.1", await serve(talk), "/x"), "raw", {})


async def test_nobody_there_and_a_header_with_a_line_break() -> None:
    with pytest.raises(ConnectionFailed):
        await open_upgraded("GET", Target("127.0.0.1", 9, "/x"), "raw", {})
    with pytest.raises(ValueError, match="line break"):
        await open_upgraded("GET", Target("127.0.0.1", 9, "/x"), "raw", {"a": "b\r\nc: d"})


async def test_last_words_reach_a_client_that_still_sends(serve: Serve) -> None:
    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(AGREED)
        await reader.readexactly(1)
        writer.write(b"last words")
        await writer.drain()
        writer.close()

    port = await serve(far)

    async def app(request: Request) -> Response:
        await asyncio.sleep(0)
        return await tunnel(request.method, Target("127.0.0.1", port, "/x"), "raw", {})

    server = Server(app, host="127.0.0.1", port=0, ssl_context=None, clock=SystemClock())
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: raw\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 4_000_000)
        assert await asyncio.wait_for(reader.readexactly(10), 10) == b"last words"
        writer.close()
    finally:
        await server.stop()


async def test_a_plain_stream_reads_what_came_before_writing_failed(serve: Serve) -> None:
    gone = asyncio.Event()

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"head\r\n\r\nlast words")
        await writer.drain()
        await reader.readexactly(1)
        reset(writer)
        gone.set()

    stream = await PlainStream.connect("127.0.0.1", await serve(far))
    try:
        assert await stream.readuntil(b"\r\n\r\n", 100) == b"head\r\n\r\n"
        stream.write(b"x")
        await stream.drain()
        await gone.wait()
        stream.write(b"y")
        with pytest.raises(ConnectionError):
            await send_until_refused(stream)
        assert await stream.readexactly(10) == b"last words"
    finally:
        stream.close()


async def send_until_refused(stream: PlainStream) -> None:
    for _ in range(3):
        stream.write(b"y")
        await stream.drain()
