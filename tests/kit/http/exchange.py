"""A server on a real socket, and raw connections to it."""

from __future__ import annotations

import asyncio

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.server import Server


async def echo(request: Request) -> Response:
    if request.path == "/later":
        await asyncio.sleep(0)
    if request.path == "/broken":
        raise RuntimeError("broken")
    text = f"{request.method} {request.path} {request.query} {len(request.body)} {request.headers.get('x', '')}"
    return Response(200, {"content-type": "text/plain"}, text.encode())


class Exchange:
    """A server and raw connections to it."""

    def __init__(self, app=echo, clock=None, **limits) -> None:
        self.clock = clock or SystemClock()
        self.server = Server(
            app, host="127.0.0.1", port=0, ssl_context=None, clock=self.clock, limits=Limits(shutdown_s=0.2, **limits)
        )
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Exchange:
        await self.server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for writer in self.writers:
            writer.close()
        await self.server.stop()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.writers.append(writer)
        return reader, writer

    async def send(self, data: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        reader, writer = await self.connect()
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 5)
