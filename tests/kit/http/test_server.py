"""The HTTP edge over real sockets: bad input first, then keep-alive, streams, upgrades, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from pilothouse.kit.http.fields import values_of
from pilothouse.kit.http.message import Request, Response
from tests.kit.http.exchange import Exchange


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_malformed_requests_end_the_connection(data: bytes) -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(data)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nxxxxxxxxxxx\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n",
    ],
)
async def test_a_body_over_the_limit_is_refused(data: bytes) -> None:
    async with Exchange(body_bytes=10) as exchange:
        answer = await exchange.send(data)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"limit is 10" in answer


async def test_headers_over_the_limit_are_refused() -> None:
    async with Exchange(head_bytes=1000) as exchange:
        answer = await exchange.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_requests_before_a_bad_one_are_answered() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1 400 " in answer


async def test_a_failing_application_is_an_error_of_the_server() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(b"GET /broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")


async def test_pipelined_requests_are_answered_in_order() -> None:
    requests = b"".join(
        b"GET /%b?n=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (b"later" if n % 2 else b"now", n) for n in range(40)
    )
    async with Exchange(pipelined=4) as exchange:
        answer = await exchange.send(requests + b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [body.split()[2] for body in bodies[:40]] == [b"n=%d" % n for n in range(40)]
    assert b"/end" in bodies[40]


async def test_paths_are_decoded_and_queries_are_not() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(
            b"GET /a%20b%2Fc?x=%20 HTTP/1.1\r\nHost: x\r\nX: 1\r\nx: 2\r\nConnection: close\r\n\r\n"
        )
    assert answer.endswith(b"\r\n\r\nGET /a b/c x=%20 0 1, 2")


async def test_head_has_the_length_and_no_body() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 11\r\n" in answer


async def test_a_client_that_asks_may_continue() -> None:
    async with Exchange() as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_header_values_cannot_end_a_line() -> None:
    async def app(request: Request) -> Response:
        return Response(200, {"warning": "a\r\nset-cookie: b"}, b"")

    async with Exchange(app) as exchange:
        answer = await exchange.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"warning: a  set-cookie: b\r\n" in answer


async def test_chunks_are_sent_as_they_come_and_end_with_the_client() -> None:
    closed = asyncio.Event()
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await go_on.wait()
            yield b"two"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def app(request: Request) -> Response:
        return Response(200, {}, parts())

    async with Exchange(app) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"transfer-encoding: chunked" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(8) == b"3\r\none\r\n"
        go_on.set()
        assert await reader.readexactly(8) == b"3\r\ntwo\r\n"
        writer.close()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_body_that_fails_is_cut_off() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("broken")

    async def app(request: Request) -> Response:
        return Response(200, {}, parts())

    async with Exchange(app) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        with suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 5)
        assert not answer.endswith(b"0\r\n\r\n")


async def test_stopping_ends_streams_properly() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async def app(request: Request) -> Response:
        return Response(200, {}, parts())

    async with Exchange(app) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"one\r\n")
        await exchange.server.stop()
        assert await reader.read() == b"0\r\n\r\n"


async def test_a_connection_is_handed_over_with_what_was_sent_already() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()

    async def app(request: Request) -> Response:
        return Response(101, {"connection": "Upgrade", "upgrade": "x"}, takeover=talk)

    async with Exchange(app) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfirst\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert await reader.readline() == b"FIRST\n"
        writer.write(b"second\n")
        assert await reader.readline() == b"SECOND\n"


async def test_an_upgrade_that_is_not_taken_up_leaves_http() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(
            b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
    assert answer.count(b"HTTP/1.1 200 OK") == 2


async def test_a_field_in_several_lines_is_one_list_whose_values_stay_apart() -> None:
    seen: list[Request] = []

    async def remember(request: Request) -> Response:
        seen.append(request)
        return Response(200, {}, b"")

    async with Exchange(remember) as exchange:
        await exchange.send(b"GET / HTTP/1.1\r\nHost: x\r\nG: a,b\r\nY: 1\r\nG: c\r\nConnection: close\r\n\r\n")
    (request,) = seen
    assert request.headers["g"] == "a,b, c"
    assert values_of(request.headers, "g") == ["a,b", "c"]
    assert (values_of(request.headers, "y"), values_of(request.headers, "z")) == (["1"], [])
