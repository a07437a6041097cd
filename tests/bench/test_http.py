"""The load generator against a real server, without TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.http import RequestRefused, Server, encode
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.message import App, Request, Response
from pilothouse.kit.http.server import Server as Edge


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Server]:
    edge = Edge(app, host="127.0.0.1", port=0, ssl_context=None, clock=SystemClock())
    await edge.start()
    try:
        yield Server(edge.port, None)
    finally:
        await edge.stop()


async def test_every_request_is_sent_once() -> None:
    seen: list[str] = []

    async def app(request: Request) -> Response:
        seen.append(request.path)
        return Response(200, {}, b"{}")

    async with serving(app) as server:
        load = await server.load(4)
        await load.run(encode("GET", f"/{number}") for number in range(50))
        await load.run([encode("GET", "/again")])
        load.close()
    assert sorted(seen) == sorted([*(f"/{number}" for number in range(50)), "/again"])


async def test_an_error_status_ends_the_load_with_what_the_server_said() -> None:
    async def app(request: Request) -> Response:
        return Response(409, {}, b"taken") if request.path == "/7" else Response(200, {}, b"{}")

    async with serving(app) as server:
        load = await server.load(2)
        with pytest.raises(RequestRefused, match="409: taken") as refused:
            await load.run(encode("POST", f"/{number}", {"a": 1}) for number in range(20))
        assert refused.value.status == 409
        load.close()


async def test_a_connection_that_closes_is_an_error() -> None:
    async def app(request: Request) -> Response:
        return Response(200, {"connection": "close"}, b"{}")

    async with serving(app) as server:
        load = await server.load(1)
        with pytest.raises(OSError):
            await load.run([encode("GET", "/", None).replace(b"accept", b"connection: close\r\naccept", 1)] * 2)


async def test_a_watch_gives_whole_lines_however_they_come() -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b'{"a":1}\n{"b"'
        yield b":2}\n"

    async def app(request: Request) -> Response:
        return Response(200, {}, events())

    lines: list[bytes] = []
    both = asyncio.Event()

    def on_line(line: bytes) -> None:
        lines.append(line)
        if len(lines) == 2:
            both.set()

    async with serving(app) as server:
        stream = await server.watch("/", on_line)
        await both.wait()
        stream.close()
    assert lines == [b'{"a":1}', b'{"b":2}']


async def test_a_watch_that_is_refused_is_an_error() -> None:
    async def app(request: Request) -> Response:
        return Response(410, {}, b"gone")

    async with serving(app) as server:
        with pytest.raises(RequestRefused):
            await server.watch("/", lambda line: None)
