"""One HTTP/1.1 connection: bytes in, requests out, responses back in the order of the requests.

The parser (llhttp) is strict: a request with both `Transfer-Encoding` and `Content-Length`, a malformed header or a bare line feed
ends the connection with 400, so that no proxy in front can see other requests than this server does. One request is worked on at a
time; further ones wait in a bounded queue while the socket is not read.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from pilothouse.kit.clock import Clock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import App, Peer, Request, Response
from pilothouse.kit.http.upgrade import hand_over
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.http")

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_COPY_LIMIT_BYTES = 64 * 1024
"""A body up to this size is copied behind its headers so that both leave in one write."""
_PIECE_BYTES = 256 * 1024
_KNOWN_NAMES_LIMIT = 512


class HeaderNames(dict[bytes, str]):
    """Lower-case header names by their bytes on the wire; bounded, as clients choose the keys."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(self) < _KNOWN_NAMES_LIMIT:
            self[raw] = name
        return name


class Owner(Protocol):
    """What a connection needs of the server that accepted it."""

    app: App
    clock: Clock
    limits: Limits
    refusal: Callable[[int, str], Response]
    connections: set[Connection]
    header_names: HeaderNames
    stopping: bool

    @property
    def date(self) -> str:
        """The value of the `Date` header now."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the server at the latest."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""


class _Resumed:
    """Awaits the rest of a coroutine that was started outside a task and stopped at `suspended_on`."""

    __slots__ = ("coroutine", "suspended_on")

    def __init__(self, coroutine: Coroutine[Any, Any, Response], suspended_on: Any) -> None:
        self.coroutine = coroutine
        self.suspended_on = suspended_on

    def __await__(self) -> Generator[Any, Any, Response]:
        suspended_on = self.suspended_on
        while True:
            try:
                value = yield suspended_on
            except GeneratorExit:
                self.coroutine.close()
                raise
            except BaseException as error:
                step: Callable[[Any], Any] = self.coroutine.throw
                argument: Any = error
            else:
                step = self.coroutine.send
                argument = value
            try:
                suspended_on = step(argument)
            except StopIteration as finished:
                response: Response = finished.value
                return response


class Connection(asyncio.Protocol):
    """A client's connection, owned by its server."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_disconnected",
        "_drained",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_is_closing",
        "_leftover",
        "_loop",
        "_names",
        "_parser",
        "_peer",
        "_queue",
        "_refused",
        "_server",
        "_streaming",
        "_task",
        "_transport",
        "_url",
        "_working",
        "deadline",
    )

    def __init__(self, server: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._names = server.header_names
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made before anything else
        self._peer: Peer
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._in_head = False
        self._refused: tuple[int, str] | None = None
        self._queue: deque[tuple[Request, bool, bool]] = deque()
        self._working = False
        self._streaming = False
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._leftover: bytearray | None = None
        self._drained: asyncio.Event | None = None
        self._disconnected = asyncio.Event()
        self.deadline = math.inf
        """When the server may cut the connection off, by its clock's monotonic time."""

    # Transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        server = self._server
        if server.stopping or len(server.connections) >= server.limits.connections:
            self._transport.abort()
            return
        server.connections.add(self)
        self._transport.set_write_buffer_limits(high=server.limits.write_buffer_bytes)
        address = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._peer = Peer(
            address[0] if isinstance(address, tuple) else str(address or ""), certificate, tls is not None
        )
        self.deadline = server.clock.monotonic() + server.limits.idle_timeout_s

    def connection_lost(self, error: Exception | None) -> None:
        self._disconnected.set()
        self._is_closing = True
        self._queue.clear()
        if self._drained is not None:
            self._drained.set()
        if self._streaming and self._task is not None:
            self._task.cancel()
        # The parser refers to the connection, which holds the buffers of TLS: without the cycle they are free at once.
        self._parser = None
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._leftover is not None:
            self._hold_back(data)
            return
        if self._is_closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            if self._refused is None:
                self._refuse(400, f"malformed HTTP request: {error}")
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._server.limits.head_bytes:
                self._refuse(431, "request headers are too large")

    def _after_upgrade(self, rest: bytes) -> None:
        if self._leftover is not None:
            self._hold_back(rest)
        elif rest:
            # The application has answered already, without taking the upgrade up.
            self.data_received(rest)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._drained = asyncio.Event()
        self.deadline = self._server.clock.monotonic() + self._server.limits.write_timeout_s

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None
        self.deadline = math.inf if self._working else self._idle_deadline()

    # Parser's calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._in_head = True
        if not self._working:
            self.deadline = self._server.clock.monotonic() + self._server.limits.head_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        name = self._names[raw_name]
        value = raw_value.decode("latin-1")
        headers = self._headers
        # RFC 9110 5.3: several fields of one name are one list; Set-Cookie, the exception, is none of a request's.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value

    def on_headers_complete(self) -> None:
        self._in_head = False
        headers = self._headers
        limit = self._server.limits.body_bytes
        # RFC 9112 3.2.
        if "host" not in headers and self._parser.get_http_version() == "1.1":
            self._refuse(400, "missing required Host header")
            return
        length = headers.get("content-length")
        if length is not None:
            if not length.isdigit() or int(length) > limit:
                self._refuse(413, f"limit is {limit}")
                return
            if not self._working and length != "0":
                self.deadline = self._server.clock.monotonic() + self._server.limits.body_timeout_s
        if headers.get("expect", "").lower() == "100-continue" and not self._working and not self._queue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        if self._refused is not None:
            return
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > self._server.limits.body_bytes:
            self._refuse(413, f"limit is {self._server.limits.body_bytes}")
        elif not self._working:
            self.deadline = self._server.clock.monotonic() + self._server.limits.body_timeout_s

    def on_message_complete(self) -> None:
        if self._refused is not None:
            return
        raw_path, _, query = self._url.decode("latin-1").partition("?")
        if not raw_path.startswith("/"):
            # The absolute form of a proxy request names this server before the path.
            raw_path = "/" + raw_path.partition("://")[2].partition("/")[2] if "://" in raw_path else raw_path
        body = self._body
        request = Request(
            self._parser.get_method().decode("latin-1"),
            unquote(raw_path) if "%" in raw_path else raw_path,
            query,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._peer,
            raw_path,
            self._disconnected,
        )
        upgrade = self._parser.should_upgrade()
        keep_alive = self._parser.should_keep_alive() or upgrade
        if upgrade:
            self._leftover = bytearray()
        if self._working:
            self._queue.append((request, keep_alive, upgrade))
            if len(self._queue) >= self._server.limits.pipelined:
                self._transport.pause_reading()
        else:
            self._work_on(request, keep_alive)

    # Requests

    def _work_on(self, request: Request, keep_alive: bool) -> None:
        self._working = True
        self.deadline = math.inf
        coroutine: Any = self._server.app(request)
        try:
            suspended_on = coroutine.send(None)
        except StopIteration as finished:
            self._answer(request, finished.value, keep_alive)
        except Exception:
            self._answer(request, self._failure(request), keep_alive)
        else:
            self._task = self._server.spawn(self._finish(request, _Resumed(coroutine, suspended_on), keep_alive))

    async def _finish(self, request: Request, rest: _Resumed, keep_alive: bool) -> None:
        try:
            response = await rest
        except Exception:
            response = self._failure(request)
        self._task = None
        self._answer(request, response, keep_alive)

    def _failure(self, request: Request) -> Response:
        log.exception("request failed", method=request.method, path=request.path)
        return self._server.refusal(500, "the application failed")

    def _answer(self, request: Request, response: Response, keep_alive: bool) -> None:
        body = response.body
        keep_alive = keep_alive and not self._server.stopping
        if self._is_closing and self._disconnected.is_set():
            if not isinstance(body, bytes):
                self._task = self._server.spawn(_close(body))
        elif response.takeover is not None:
            self._streaming = True
            self._task = self._server.spawn(self._take_over(response))
        elif isinstance(body, bytes):
            head = self._head(response, keep_alive, f"content-length: {len(body)}\r\n")
            if request.method == "HEAD":
                self._transport.write(head)
            elif len(body) <= _COPY_LIMIT_BYTES:
                self._transport.write(head + body)
            else:
                self._write_large(head, body)
            self._done(keep_alive)
        elif request.method == "HEAD":
            self._transport.write(self._head(response, keep_alive, ""))
            self._task = self._server.spawn(_close(body))
            self._done(keep_alive)
        else:
            is_chunked = self._parser.get_http_version() != "1.0"
            keep_alive = keep_alive and is_chunked
            self._transport.write(
                self._head(response, keep_alive, "transfer-encoding: chunked\r\n" if is_chunked else "")
            )
            self._streaming = True
            self._task = self._server.spawn(self._stream(request, body, is_chunked, keep_alive))

    def _write_large(self, head: bytes, body: bytes) -> None:
        if not self._peer.is_tls:
            self._transport.writelines((head, body))
            return
        # Encrypting a large body at once makes OpenSSL grow one buffer to its size, copy by copy.
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), _PIECE_BYTES):
            self._transport.write(view[start : start + _PIECE_BYTES])

    def _head(self, response: Response, keep_alive: bool, length_line: str) -> bytes:
        lines = [_STATUS_LINES.get(response.status) or f"HTTP/1.1 {response.status} Unknown\r\n"]
        for name, value in response.headers.items():
            if "\n" in value or "\r" in value:
                value = value.replace("\r", " ").replace("\n", " ")
            lines.append(f"{name}: {value}\r\n")
        if response.takeover is None:
            lines.append(length_line)
            lines.append(
                f"date: {self._server.date}\r\n\r\n"
                if keep_alive
                else f"date: {self._server.date}\r\nconnection: close\r\n\r\n"
            )
        else:
            lines.append("\r\n")
        return "".join(lines).encode("utf-8", "surrogateescape")

    async def _stream(self, request: Request, body: AsyncIterator[bytes], is_chunked: bool, keep_alive: bool) -> None:
        write = self._transport.write
        complete = False
        try:
            async for chunk in body:
                if chunk:
                    write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk)
                    while self._drained is not None and not self._is_closing:
                        await self._drained.wait()
            complete = True
        except asyncio.CancelledError:
            # The server ends streams when it stops; the client must see a proper end, not a broken one.
            complete = self._server.stopping
        except Exception:
            log.exception("streamed response failed", method=request.method, path=request.path)
        finally:
            await _close(body)
            self._streaming = False
            self._task = None
            if not self._is_closing and not self._disconnected.is_set():
                if not complete:
                    self._transport.abort()
                else:
                    if is_chunked:
                        write(b"0\r\n\r\n")
                    self._done(keep_alive)

    async def _take_over(self, response: Response) -> None:
        assert response.takeover is not None
        self._transport.write(self._head(response, True, ""))
        reader, writer = hand_over(self._transport, bytes(self._leftover or b""), self._loop, self._left)
        self._leftover = None
        self._transport.resume_reading()
        try:
            await response.takeover(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception:
            log.exception("connection that left HTTP failed")
        finally:
            self._task = None
            self._transport.close()

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
            request, keep_alive, _ = self._queue.popleft()
            if len(self._queue) < self._server.limits.pipelined:
                self._transport.resume_reading()
            # From the loop, not from here: answers that come at once must not nest as deep as a client pipelines.
            self._working = True
            self._loop.call_soon(self._work_on, request, keep_alive)
            return
        if self._refused is not None:
            self._send_refusal(*self._refused)
        elif self._leftover is not None:
            # An upgrade was offered and not taken up: what follows is HTTP again.
            held, self._leftover = bytes(self._leftover), None
            self._parser = httptools.HttpRequestParser(self)
            self._transport.resume_reading()
            self.deadline = self._idle_deadline()
            if held:
                self.data_received(held)
        elif self._drained is None:
            self.deadline = self._idle_deadline()

    def _idle_deadline(self) -> float:
        return self._server.clock.monotonic() + self._server.limits.idle_timeout_s

    def _hold_back(self, data: bytes) -> None:
        assert self._leftover is not None
        self._leftover += data
        if len(self._leftover) > _COPY_LIMIT_BYTES:
            self._transport.pause_reading()

    def _refuse(self, code: int, why: str) -> None:
        """Answer a request that cannot be read to its end, after those before it, and close."""
        self._refused = (code, why)
        self._in_head = False
        if self._is_closing:
            return
        self._transport.pause_reading()
        if not self._working:
            self._send_refusal(code, why)

    def _send_refusal(self, code: int, why: str) -> None:
        response = self._server.refusal(code, why)
        body = response.body
        assert isinstance(body, bytes)
        self._transport.write(self._head(response, False, f"content-length: {len(body)}\r\n") + body)
        self._close()

    def _close(self) -> None:
        self._is_closing = True
        self.deadline = self._server.clock.monotonic() + self._server.limits.write_timeout_s
        self._transport.close()

    # Server's calls

    def wind_down(self) -> None:
        """Close after the request in progress; end a stream at once."""
        if not self._working:
            self._close()
        elif self._streaming and self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Cut off at once."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


async def _close(body: AsyncIterator[bytes]) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
