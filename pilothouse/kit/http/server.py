"""The HTTP/1.1 server: listens, owns its connections, and ends them when they overstay or the server stops.

It knows nothing of what it serves. Connections are in `connection`; bounds in `limits`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

from pilothouse.kit.clock import Clock, Timer
from pilothouse.kit.http.connection import Connection
from pilothouse.kit.http.feed import Rounds
from pilothouse.kit.http.head import HeaderNames
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import App, Response
from pilothouse.kit.http.outbox import Outbox

Refusal = Callable[[int, str], Response]
"""Gives the response for a request that the server itself refuses: a status code and what is wrong."""


def plain_refusal(code: int, why: str) -> Response:
    return Response(code, {"content-type": "text/plain; charset=utf-8"}, f"{why}\n".encode())


class Server:
    """One listening socket and its connections.

    Until its first suspension the application runs outside any task, so that a request that can be answered at once costs no task:
    before it uses `asyncio.timeout` or a TaskGroup it must have awaited something, `asyncio.sleep(0)` if nothing else.
    """

    def __init__(
        self,
        app: App,
        *,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
        clock: Clock,
        limits: Limits | None = None,
        refusal: Refusal = plain_refusal,
    ) -> None:
        self.app = app
        self.clock = clock
        self.limits = limits or Limits()
        self.refusal = refusal
        self.connections: set[Connection] = set()
        self.header_names = HeaderNames()
        self.hosts: set[str] = set()
        """Values of the `Host` header that are known to be well formed."""
        self.rounds = Rounds(clock)
        self.outbox = Outbox()
        self.handshake_failures = 0
        """Connections that were opened and did not become TLS connections."""
        self.stopping = False
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._listener: asyncio.Server | None = None
        self._shaking: dict[Connection, float] = {}
        """Connections whose TLS handshake is under way, since when."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep_timer: Timer | None = None
        self._emptied = asyncio.Event()
        self.date = ""

    @property
    def port(self) -> int:
        """The port that is listened on, also where port 0 was asked for."""
        if self._listener is None:
            return self._port
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen. Raises OSError, for example when the port is in use."""
        loop = asyncio.get_running_loop()
        self._read_clock()
        tls: dict[str, Any] = {}
        if self._ssl_context is not None:
            tls = {
                "ssl": self._ssl_context,
                "ssl_handshake_timeout": self.limits.handshake_timeout_s,
                "ssl_shutdown_timeout": 5.0,
            }
        self._listener = await loop.create_server(
            lambda: self._accepted(Connection(self, loop)), self._host or None, self._port, backlog=1024, **tls
        )
        self._sweep_timer = self.clock.call_later(1.0, self._sweep)

    async def stop(self) -> None:
        """Stop listening, end streams at once, let requests in progress finish for `limits.shutdown_s`, then cut them off."""
        self.stopping = True
        if self._listener is not None:
            self._listener.close()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in list(self.connections):
            connection.wind_down()
        if self.connections:
            self._emptied.clear()
            cut_off = self.clock.call_later(self.limits.shutdown_s, self._emptied.set)
            try:
                await self._emptied.wait()
            finally:
                cut_off.cancel()
                for connection in list(self.connections):
                    connection.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.wait_closed()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.shield(self.stop())

    # For connections

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the server at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def admit(self, connection: Connection) -> bool:
        """Whether a new connection may be. Where there are too many, those that have been idle longest make room."""
        self._shaking.pop(connection, None)
        if self.stopping:
            return False
        if len(self.connections) >= self.limits.connections:
            waiting = [each for each in self.connections if each.is_idle]
            idle = sorted(waiting, key=lambda each: (each.is_midway, each.deadline))
            for each in idle[: max(1, self.limits.connections // 100)]:
                each.abort()
                self.connections.discard(each)
            if not idle:
                return False
        self.connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    def _accepted(self, connection: Connection) -> Connection:
        if self._ssl_context is not None:
            self._shaking[connection] = self.clock.monotonic()
        return connection

    def _read_clock(self) -> None:
        """Tell connections the date: what is right to a second need not be worked out for each answer."""
        self.date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(self.clock.now()))

    def _sweep(self) -> None:
        self._read_clock()
        now = self.clock.monotonic()
        for connection in list(self.connections):
            if connection.deadline < now:
                connection.expire()
        longest_s = self.limits.handshake_timeout_s + 1
        for connection, since in list(self._shaking.items()):
            if now - since < longest_s:
                break
            del self._shaking[connection]
            self.handshake_failures += 1
        self._sweep_timer = self.clock.call_later(1.0, self._sweep)
