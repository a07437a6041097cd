"""One HTTP/1.1 connection: bytes in, requests out, responses back in the order of the requests.

Requests are made by `request_reader`. One is worked on at a time; further ones wait in a bounded queue while the socket is not read. When
the client goes away, what is being worked on is cancelled.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from pilothouse.kit.clock import Clock
from pilothouse.kit.http.body_writer import BodyWriter, close_body
from pilothouse.kit.http.feed import Feed, FeedWriter, Rounds
from pilothouse.kit.http.head import HeaderNames, response_head
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import App, Peer, Request, Response
from pilothouse.kit.http.outbox import Outbox
from pilothouse.kit.http.peer import peer_of
from pilothouse.kit.http.refusal import Refusal
from pilothouse.kit.http.request_reader import RequestReader
from pilothouse.kit.http.resumed import Resumed
from pilothouse.kit.http.target import ASTERISK, Malformed
from pilothouse.kit.http.upgrade import hand_over, speak
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.http")

_COPY_LIMIT_BYTES = 64 * 1024
"""A body up to this size is copied behind its headers so that both leave in one write."""


class Owner(Protocol):
    """What a connection needs of the server that accepted it."""

    app: App
    clock: Clock
    limits: Limits
    refusal: Callable[[int, str], Response]
    header_names: HeaderNames
    hosts: set[str]
    rounds: Rounds
    outbox: Outbox
    stopping: bool
    date: str
    """The value of the `Date` header now."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the server at the latest."""

    def admit(self, connection: Connection) -> bool:
        """Whether a new connection may be."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """A client's connection, owned by its server."""

    __slots__ = (
        "_body",
        "_disconnected",
        "_is_closing",
        "_is_paused",
        "_is_taken_over",
        "_leftover",
        "_loop",
        "_peer",
        "_queue",
        "_queued_bytes",
        "_reader",
        "_refusal",
        "_server",
        "_task",
        "_transport",
        "_working",
        "deadline",
    )

    def __init__(self, server: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._reader: RequestReader = self._new_reader()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made before anything else
        self._peer: Peer
        self._refusal: Refusal | None = None
        self._queue: deque[tuple[Request, bool]] = deque()
        self._queued_bytes = 0
        self._working = False
        self._is_taken_over = False
        self._task: asyncio.Task[None] | None = None
        self._body: FeedWriter | BodyWriter | None = None
        """Writes what is streamed now."""
        self._is_closing = False
        self._leftover: bytearray | None = None
        self._is_paused = False
        """Whether the client does not read what was written to it."""
        self._disconnected = asyncio.Event()
        self.deadline = math.inf
        """When the server calls `expire`, by its clock's monotonic time."""

    def _new_reader(self) -> RequestReader:
        server = self._server
        return RequestReader(self, server.limits, server.header_names, server.hosts)

    @property
    def is_idle(self) -> bool:
        """Whether no request is worked on."""
        return not self._working

    @property
    def is_midway(self) -> bool:
        """Whether the beginning of a request has come, and not its end."""
        return self._reader.in_head or self._reader.in_body

    # Transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        server = self._server
        if not server.admit(self):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=server.limits.write_buffer_bytes)
        self._peer = peer_of(transport)
        self.deadline = self._idle_deadline()

    def connection_lost(self, error: Exception | None) -> None:
        self._disconnected.set()
        self._is_closing = True
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
        if self._body is not None:
            self._body.drop()
        self._reader.close()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._leftover is not None:
            self._hold_back(data)
        elif self._refusal is not None:
            if not self._refusal.drop(len(data)):
                self.abort()
        elif not self._is_closing:
            try:
                rest = self._reader.feed(data)
            except Malformed as error:
                self._refuse(error)
                return
            if rest:
                self._after_upgrade(rest)

    def _after_upgrade(self, rest: bytes) -> None:
        if self._leftover is not None:
            self._hold_back(rest)
        else:
            # The application has answered already, without taking the upgrade up.
            self.data_received(rest)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._is_paused = True
        if self._body is not None:
            self._body.pause()
        self.deadline = self._server.clock.monotonic() + self._server.limits.write_timeout_s

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._body is not None:
            self._body.resume()
        self.deadline = math.inf if self._working else self._idle_deadline()

    # Reader's calls

    def expect(self, timeout_s: float) -> None:
        if not self._working:
            self.deadline = self._server.clock.monotonic() + timeout_s

    def go_on(self) -> None:
        if not self._working and not self._queue:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def take(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, raw_path: str) -> None:
        request = Request(method, path, query, headers, body, self._peer, raw_path, self._disconnected)
        reader = self._reader
        if reader.upgrade:
            self._leftover = bytearray()
        if not self._working:
            self._work_on(request, reader.keep_alive)
            return
        limits = self._server.limits
        self._queue.append((request, reader.keep_alive))
        self._queued_bytes += len(body)
        if len(self._queue) >= limits.pipelined or self._queued_bytes >= limits.body_bytes:
            self._transport.pause_reading()

    # Requests

    def _work_on(self, request: Request, keep_alive: bool) -> None:
        self._working = True
        self.deadline = math.inf
        if request.path == ASTERISK:
            # A question to the server as a whole: nothing that it could say is of use to anyone.
            self._answer(request, keep_alive, Response(200))
            return
        coroutine: Any = self._server.app(request)
        try:
            suspended_on = coroutine.send(None)
        except StopIteration as finished:
            self._answer(request, keep_alive, finished.value)
        except Exception:
            self._answer(request, keep_alive, self._failure(request))
        else:
            self._task = self._server.spawn(self._finish(request, keep_alive, Resumed(coroutine, suspended_on)))

    async def _finish(self, request: Request, keep_alive: bool, rest: Resumed[Response]) -> None:
        try:
            response = await rest
        except Exception:
            response = self._failure(request)
        self._task = None
        self._answer(request, keep_alive, response)

    def _failure(self, request: Request) -> Response:
        log.exception("request failed", method=request.method, path=request.path)
        return self._server.refusal(500, "the application failed")

    def _answer(self, request: Request, keep_alive: bool, response: Response) -> None:
        body = response.body
        keep_alive = keep_alive and not self._server.stopping
        if self._is_closing and self._disconnected.is_set():
            response.over()
            if not isinstance(body, bytes):
                self._server.spawn(close_body(body))
        elif response.takeover is not None:
            self._is_taken_over = True
            self._task = self._server.spawn(self._take_over(response))
        elif isinstance(body, bytes):
            head = self._head(response, keep_alive, f"content-length: {len(body)}\r\n")
            if request.method == "HEAD":
                self._write(head)
            elif len(body) <= _COPY_LIMIT_BYTES:
                self._server.outbox.put(self._transport, head + body)
            else:
                self._server.outbox.write_large(self._transport, head, body, in_pieces=self._peer.is_tls)
            self._done(keep_alive)
        elif request.method == "HEAD":
            self._write(self._head(response, keep_alive, ""))
            self._server.spawn(close_body(body))
            response.over()
            self._done(keep_alive)
        else:
            self._stream(request, keep_alive, response, body)

    def _stream(self, request: Request, keep_alive: bool, response: Response, body: AsyncIterator[bytes]) -> None:
        has_length = "content-length" in response.headers
        is_chunked = not has_length and self._reader.version != "1.0"
        keep_alive = keep_alive and (is_chunked or has_length)
        self._write(self._head(response, keep_alive, "transfer-encoding: chunked\r\n" if is_chunked else ""))

        def finished() -> None:
            self._body = None
            self._done(keep_alive)

        server, transport, over = self._server, self._transport, response.over
        if isinstance(body, Feed):
            feed = self._body = FeedWriter(
                body, transport, server.rounds, closed=over, finished=finished, is_chunked=is_chunked
            )
            if self._is_paused:
                feed.pause()
            if server.stopping:
                feed.end()
            else:
                feed.wake()
        else:
            writer = self._body = BodyWriter(
                body, transport, request, closed=over, finished=finished, is_chunked=is_chunked
            )
            if self._is_paused:
                writer.pause()
            writer.start(server.spawn)

    def _head(self, response: Response, keep_alive: bool, length_line: str) -> bytes:
        return response_head(response, self._server.date, keep_alive=keep_alive, length_line=length_line)

    async def _take_over(self, response: Response) -> None:
        assert response.takeover is not None
        self._write(self._head(response, True, ""))
        reader, writer = hand_over(self._transport, bytes(self._leftover or b""), self._loop, self._left)
        self._leftover = None
        self._transport.resume_reading()
        try:
            await speak(response.takeover, reader, writer)
        finally:
            self._task = None
            self._transport.close()
            response.over()

    def _left(self) -> None:
        """The connection that left HTTP is closed."""
        self._disconnected.set()
        self._is_closing = True
        self._server.forget(self)

    def _done(self, keep_alive: bool) -> None:
        """One response is written; the next request may be worked on."""
        self._working = False
        self._task = None
        if not keep_alive or self._server.stopping:
            self._close()
            return
        if self._queue:
            request, keep_alive = self._queue.popleft()
            self._queued_bytes -= len(request.body)
            if len(self._queue) < self._server.limits.pipelined and self._refusal is None:
                self._transport.resume_reading()
            # From the loop, not from here: answers that come at once must not nest as deep as a client pipelines.
            self._working = True
            self._loop.call_soon(self._work_on, request, keep_alive)
            return
        if self._refusal is not None:
            self._answer_refused(self._refusal)
        elif self._leftover is not None:
            # An upgrade was offered and not taken up: what follows is HTTP again.
            held, self._leftover = bytes(self._leftover), None
            self._reader.close()
            self._reader = self._new_reader()
            self._transport.resume_reading()
            self.deadline = self._idle_deadline()
            if held:
                self.data_received(held)
        elif not self._is_paused:
            self.deadline = self._idle_deadline()

    def _idle_deadline(self) -> float:
        return self._server.clock.monotonic() + self._server.limits.idle_timeout_s

    def _hold_back(self, data: bytes) -> None:
        assert self._leftover is not None
        self._leftover += data
        if len(self._leftover) > _COPY_LIMIT_BYTES:
            self._transport.pause_reading()

    def _refuse(self, error: Malformed) -> None:
        """Answer a request that cannot be read to its end, after those before it, and close."""
        self._refusal = Refusal(error)
        if self._is_closing:
            return
        if self._working:
            self._transport.pause_reading()
        else:
            self._answer_refused(self._refusal)

    def _answer_refused(self, refusal: Refusal) -> None:
        response = self._server.refusal(refusal.error.code, str(refusal.error))
        body = response.body
        assert isinstance(body, bytes)
        self._server.outbox.flush()
        refusal.answer(self._transport, self._head(response, False, f"content-length: {len(body)}\r\n") + body)
        self.deadline = self._server.clock.monotonic() + self._server.limits.linger_s

    def _write(self, data: bytes) -> None:
        """Write at once, after all that was answered before."""
        self._server.outbox.flush()
        self._transport.write(data)

    def _close(self) -> None:
        self._is_closing = True
        self._server.outbox.flush()
        self.deadline = self._server.clock.monotonic() + self._server.limits.write_timeout_s
        self._transport.close()

    # Server's calls

    def expire(self) -> None:
        """The deadline has passed."""
        if self._reader.in_body and not self._working and self._refusal is None and not self._is_closing:
            self._refuse(Malformed("request did not complete within the allotted timeout", 504))
        else:
            self.abort()

    def wind_down(self) -> None:
        """Close after the request in progress; end a stream at once."""
        if not self._working:
            self._close()
        elif self._body is not None:
            self._body.end()
        elif self._is_taken_over and self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Cut off at once."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
        if self._body is not None:
            self._body.drop()
        self._transport.abort()
