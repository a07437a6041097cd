from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, **options: float) -> AsyncIterator[HttpPool]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    pool = HttpPool("127.0.0.1", server.sockets[0].getsockname()[1], **options)
    try:
        yield pool
    finally:
        await pool.close()
        server.close()


def answers(*parts: bytes, close: bool = False) -> tuple[Handler, list[bytes]]:
    """A server that answers every request on a connection with the same bytes, and what it was asked."""
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            length = next((int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), 0)
            asked.append(head + await reader.readexactly(length))
            for part in parts:
                writer.write(part)
                await writer.drain()
            if close:
                return

    return handler, asked


async def test_a_request_and_its_answer() -> None:
    handler, asked = answers(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-Name: a\r\n\r\nok")
    async with serving(handler) as pool:
        answer = await pool.request("POST", "/x?a=b", headers={"accept": "text/plain"}, body=b"hello")
    assert (answer.status, answer.headers["x-name"], answer.body) == (201, "a", b"ok")
    assert asked[0].startswith(b"POST /x?a=b HTTP/1.1\r\nhost: 127.0.0.1:")
    assert asked[0].endswith(b"content-length: 5\r\n\r\nhello")


async def test_a_connection_is_used_again() -> None:
    connections = 0
    inner, asked = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await inner(reader, writer)

    async with serving(handler) as pool:
        for _ in range(3):
            await pool.request("GET", "/", headers={})
    assert (connections, len(asked)) == (1, 3)


async def test_a_stream_gives_chunks_as_they_come() -> None:
    handler, _ = answers(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"
    )
    async with serving(handler) as pool, pool.stream("GET", "/", headers={}) as answer:
        assert b"".join([chunk async for chunk in answer.chunks]) == b"onetwo"


async def test_leaving_a_stream_early_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await reader.read()
        closed.set()

    async with serving(handler) as pool:
        async with pool.stream("GET", "/", headers={}) as answer:
            assert await anext(answer.chunks) == b"one"
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_broken_answer_is_a_failure() -> None:
    handler, _ = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True)
    async with serving(handler) as pool:
        with pytest.raises(ConnectionFailed):
            await pool.request("GET", "/", headers={})


async def test_an_answer_that_is_not_http_is_a_failure() -> None:
    handler, _ = answers(b"SSH-2.0-OpenSSH\r\n")
    async with serving(handler) as pool:
        with pytest.raises(ConnectionFailed, match="not HTTP"):
            await pool.request("GET", "/", headers={})


async def test_a_body_without_length_ends_with_the_connection() -> None:
    handler, _ = answers(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True)
    async with serving(handler) as pool:
        assert (await pool.request("GET", "/", headers={})).body == b"all of it"


async def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    handler, asked = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", close=True)
    async with serving(handler) as pool:
        await pool.request("GET", "/1", headers={})
        await pool.request("GET", "/2", headers={})
    assert len(asked) == 2


async def test_no_server_is_a_failure() -> None:
    with pytest.raises(ConnectionFailed):
        await HttpPool("127.0.0.1", 1).request("GET", "/", headers={})


async def test_a_silent_server_is_a_timeout() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(handler, timeout_s=0.05) as pool:
        with pytest.raises(ResponseTimeout):
            await pool.request("GET", "/", headers={})


async def test_a_header_cannot_be_forged() -> None:
    handler, _ = answers(b"")
    async with serving(handler) as pool:
        with pytest.raises(ValueError, match="line break"):
            await pool.request("GET", "/", headers={"a": "b\r\nc: d"})
