"""An API server that is told to stop: not ready first, then no new connections, watches ended, requests in progress finished."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.server import Server
from pilothouse.main.apiserver import _serve
from tests.apiserver.harness import Harness

GET = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
WATCH = GET % b"/api/v1/namespaces?watch=1"


class World:
    def __init__(self) -> None:
        self.harness = Harness()
        self.writers: list[asyncio.StreamWriter] = []
        self.clock: VirtualClock = self.harness.clock
        limits = Limits(shutdown_s=60.0)
        self.server = Server(
            self.harness.app.handle, host="127.0.0.1", port=0, ssl_context=None, clock=self.clock, limits=limits
        )

    async def begin(self, delay_s: float) -> asyncio.Task[None]:
        await self.server.start()
        self.port = self.server.port
        task = asyncio.ensure_future(_serve(self.harness.app, self.server, self.clock, delay_s))
        await asyncio.sleep(0)
        return task

    async def ask(self, request: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(request)
        return reader


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), 5)


async def test_it_serves_on_for_a_while_and_is_not_ready() -> None:
    world = World()
    task = await world.begin(5.0)
    task.cancel()
    await asyncio.sleep(0)
    assert world.harness.app.is_stopping
    assert (await answer(await world.ask(GET % b"/api/v1/namespaces"))).startswith(b"HTTP/1.1 200 ")
    await world.clock.advance(5)
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionError):
        await world.ask(GET % b"/api/v1/namespaces")


async def test_watches_end_properly_and_what_is_in_progress_is_finished() -> None:
    world = World()
    task = await world.begin(0.0)
    watch = await world.ask(WATCH)
    await watch.readuntil(b"\r\n\r\n")
    asked, released = asyncio.Event(), asyncio.Event()

    async def slowly(user: Any, info: Any, annotations: Any = None) -> None:
        asked.set()
        await released.wait()

    world.harness.everybody.authorize = slowly  # type: ignore[method-assign]
    late = await world.ask(GET % b"/api/v1/namespaces")
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    assert (await answer(watch)).endswith(b"0\r\n\r\n")
    assert not task.done()
    released.set()
    assert (await answer(late)).startswith(b"HTTP/1.1 200 ")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_what_does_not_finish_is_cut_off() -> None:
    world = World()
    task = await world.begin(0.0)
    asked = asyncio.Event()

    async def never(user: Any, info: Any, annotations: Any = None) -> None:
        asked.set()
        await asyncio.Event().wait()

    world.harness.everybody.authorize = never  # type: ignore[method-assign]
    reader = await world.ask(GET % b"/api/v1/namespaces")
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    await world.clock.advance(61)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    text = b""
    with contextlib.suppress(ConnectionError):
        text = await answer(reader)
    assert not text or text.startswith(b"HTTP/1.1 504 ")
