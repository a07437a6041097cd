"""An HTTP/1.1 client: a pool of kept-alive connections to one server.

Built like the server's edge, an `asyncio.Protocol` over httptools, because every component holds one: it loads in a few milliseconds
and costs about 30 µs a request, where aiohttp takes a third of a second of CPU and 20 MB to import in each process.

A body is read whole (`request`) or in chunks as it arrives (`stream`), with backpressure: reading from the socket pauses while
`HIGH_WATER_BYTES` wait to be consumed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import httptools

HIGH_WATER_BYTES = 1 << 20
IDLE_LIMIT_S = 90.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class ConnectionFailed(Exception):
    """The server cannot be reached, or the connection broke before the answer was whole."""


class ResponseTimeout(Exception):
    """No answer in time."""


@dataclass(slots=True)
class Answer:
    """A whole response. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class StreamedAnswer:
    """A response whose body is read in chunks. Iterating raises ConnectionFailed if the connection breaks before its end."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(slots=True)
class _Exchange:
    """One request's answer while it arrives."""

    method: str
    head: asyncio.Future[None]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: deque[bytes] = field(default_factory=deque)
    waiting_bytes: int = 0
    complete: bool = False
    keep_alive: bool = False
    failure: Exception | None = None
    wakeup: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.wakeup is not None and not self.wakeup.done():
            self.wakeup.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection; carries one exchange at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.idle_since = 0.0
        self._exchange: _Exchange | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport has the interface of asyncio.Transport without being one.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionFailed(f"the answer is not HTTP: {error}"))
            return
        if exchange.waiting_bytes > HIGH_WATER_BYTES and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        exchange = self._exchange
        if exchange is not None and not exchange.complete:
            if (
                exchange.head.done()
                and "content-length" not in exchange.headers
                and "transfer-encoding" not in exchange.headers
            ):
                self.on_message_complete()
            else:
                self._fail(ConnectionFailed(str(error) if error else "the server closed the connection"))

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._exchange is not None
        self._exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        exchange, parser = self._exchange, self._parser
        assert exchange is not None
        assert parser is not None
        exchange.status = parser.get_status_code()
        if exchange.status >= 200 and not exchange.head.done():
            exchange.head.set_result(None)

    def on_body(self, chunk: bytes) -> None:
        assert self._exchange is not None
        self._exchange.chunks.append(chunk)
        self._exchange.waiting_bytes += len(chunk)
        self._exchange.wake()

    def on_message_complete(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        if exchange.status < 200:
            exchange.headers.clear()
            return
        exchange.complete = True
        exchange.keep_alive = self._parser is not None and self._parser.should_keep_alive()
        exchange.wake()

    # The pool's side

    def send(self, method: str, head: bytes, body: bytes) -> _Exchange:
        assert self.transport is not None
        exchange = _Exchange(method, asyncio.get_running_loop().create_future())
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(head + body)
        return exchange

    async def next_chunk(self, exchange: _Exchange) -> bytes:
        """The bytes that have arrived; empty at the end. Raises ConnectionFailed."""
        while not exchange.chunks:
            if exchange.failure is not None:
                raise exchange.failure
            if exchange.complete:
                return b""
            exchange.wakeup = asyncio.get_running_loop().create_future()
            try:
                await exchange.wakeup
            finally:
                exchange.wakeup = None
        data = exchange.chunks.popleft() if len(exchange.chunks) == 1 else b"".join(exchange.chunks)
        exchange.chunks.clear()
        exchange.waiting_bytes = 0
        if self._paused and self.transport is not None and not self.closed:
            self._paused = False
            self.transport.resume_reading()
        return data

    def may_be_reused(self, exchange: _Exchange) -> bool:
        return exchange.complete and exchange.keep_alive and not self.closed

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    def _fail(self, error: Exception) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.failure = error
            if not exchange.head.done():
                exchange.head.set_exception(error)
            exchange.wake()
        self.close()


class HttpPool:
    """Connections to one server. It connects on first use and belongs to one event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_name: str = "",
        connect_timeout_s: float = 10.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._server_name = server_name
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        default_port = 443 if ssl_context is not None else 80
        bracketed = f"[{host}]" if ":" in host else host
        self._host_header = bracketed if port == default_port else f"{bracketed}:{port}"

    async def request(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send a request and read the whole answer. `target` is the percent-encoded path with its query.

        Raises ConnectionFailed, ResponseTimeout.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                connection, exchange = await self._exchange(method, target, headers, body)
                try:
                    chunks = []
                    while chunk := await connection.next_chunk(exchange):
                        chunks.append(chunk)
                finally:
                    self._release(connection, exchange)
        except TimeoutError:
            raise ResponseTimeout(f"no answer to {method} {target} within {self._timeout_s:g} s") from None
        return Answer(exchange.status, exchange.headers, chunks[0] if len(chunks) == 1 else b"".join(chunks))

    @asynccontextmanager
    async def stream(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b""
    ) -> AsyncIterator[StreamedAnswer]:
        """Send a request and read the answer in chunks, which may be silent for as long as the server likes.

        Leaving before the end closes the connection, which tells the server. Raises ConnectionFailed, ResponseTimeout.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                connection, exchange = await self._exchange(method, target, headers, body)
        except TimeoutError:
            raise ResponseTimeout(f"no answer to {method} {target} within {self._timeout_s:g} s") from None
        try:
            yield StreamedAnswer(exchange.status, exchange.headers, _chunks(connection, exchange))
        finally:
            self._release(connection, exchange)

    async def close(self) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.close()
        self._idle.clear()

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[_Connection, _Exchange]:
        """A connection whose answer's head has arrived."""
        head = self._head(method, target, headers, body)
        while True:
            connection = self._take_idle()
            is_fresh = connection is None
            if connection is None:
                connection = await self._connect()
            self._busy.add(connection)
            exchange = connection.send(method, head, body)
            try:
                await exchange.head
            except ConnectionFailed:
                self._release(connection, exchange)
                # The server may have closed an idle connection just as it was taken; nothing is lost by asking again.
                if is_fresh or method not in SAFE_METHODS:
                    raise
                continue
            except BaseException:
                self._release(connection, exchange)
                raise
            return connection, exchange

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    _Connection,
                    self._host,
                    self._port,
                    ssl=self._ssl_context,
                    server_hostname=(self._server_name or self._host) if self._ssl_context is not None else None,
                )
        except TimeoutError:
            raise ConnectionFailed(f"connecting took longer than {self._connect_timeout_s:g} s") from None
        except OSError as error:
            raise ConnectionFailed(str(error)) from error
        return connection

    def _take_idle(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and now - connection.idle_since < IDLE_LIMIT_S:
                return connection
            connection.close()
        return None

    def _release(self, connection: _Connection, exchange: _Exchange) -> None:
        self._busy.discard(connection)
        if connection.may_be_reused(exchange):
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in headers:
            lines.append(f"host: {self._host_header}")
        for name, value in headers.items():
            if "\n" in value or "\r" in value:
                raise ValueError(f"header {name} has a line break")
            lines.append(f"{name}: {value}")
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"content-length: {len(body)}")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")


async def _chunks(connection: _Connection, exchange: _Exchange) -> AsyncIterator[bytes]:
    while chunk := await connection.next_chunk(exchange):
        yield chunk
