"""The load generator: HTTP/1.1 with keep-alive over TLS, as the cluster's administrator.

It must cost little beside the server that it measures: requests are encoded ahead, answers are parsed by llhttp and not decoded.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools


class RequestRefused(Exception):
    """The server answered with an error status."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the API server answered {status}: {body[:500].decode(errors='replace')}")
        self.status = status


def encode(method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
    """A request as it goes over the wire."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\nuser-agent: bench\r\n"
    if content:
        head += f"content-type: {content_type}\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


@dataclass(frozen=True, slots=True)
class Server:
    """Where the API server is, and how to speak to it."""

    port: int
    context: ssl.SSLContext | None
    host: str = "127.0.0.1"

    @classmethod
    def at(cls, port: int, authority: Path, certificate: Path, key: Path, *, host: str = "127.0.0.1") -> Server:
        """Raises OSError while the files do not exist."""
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        return cls(port, context, host)

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The decoded answer. Raises RequestRefused, OSError."""
        return json.loads(await self.answer(encode(method, path, body, content_type)))

    async def answer(self, request: bytes) -> bytes:
        """The body of the answer to an encoded request. Raises RequestRefused, OSError."""
        answers: list[bytes] = []
        load = await Load.open(self, 1, answers.append)
        try:
            await load.run([request])
        finally:
            load.close()
        return answers[0]

    async def load(self, connections: int) -> Load:
        """Open connections, over which many requests can be sent. Raises OSError."""
        return await Load.open(self, connections)

    async def watch(self, path: str, on_line: Callable[[bytes], None]) -> Stream:
        """Open a watch; every event is given to `on_line` as it comes. Raises OSError."""
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: Stream(encode("GET", path), on_line), self.host, self.port, ssl=self.context
        )
        await stream.started
        return stream


class Stream(asyncio.Protocol):
    """One watch."""

    def __init__(self, request: bytes, on_line: Callable[[bytes], None]) -> None:
        self._request = request
        self._on_line = on_line
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self.started.done():
            if status == 200:
                self.started.set_result(None)
            else:
                self.started.set_exception(RequestRefused(status, b"to a watch"))

    def on_body(self, body: bytes) -> None:
        *lines, self._rest = (self._rest + body).split(b"\n")
        for text in lines:
            self._on_line(text)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.started.done():
            self.started.set_exception(error or ConnectionError("the API server closed the connection"))

    def close(self) -> None:
        self._transport.close()


class Load:
    """Open connections that send requests one after another, each the next as soon as it has an answer."""

    def __init__(self) -> None:
        self._connections: list[_Connection] = []

    @classmethod
    async def open(cls, server: Server, connections: int, on_body: Callable[[bytes], None] | None = None) -> Load:
        load = cls()
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(
                lambda: _Connection(on_body), server.host, server.port, ssl=server.context
            )
            load._connections.append(connection)
        return load

    async def run(self, requests: Iterable[bytes]) -> None:
        """Send all requests; return when all are answered. Raises RequestRefused, OSError."""
        iterator = iter(requests)
        running: Sequence[asyncio.Future[None]] = [connection.start(iterator) for connection in self._connections]
        await asyncio.gather(*running)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


class _Connection(asyncio.Protocol):
    def __init__(self, on_body: Callable[[bytes], None] | None) -> None:
        self._on_whole_body = on_body
        self._requests: Iterator[bytes] = iter(())
        self._done: asyncio.Future[None] | None = None
        self._body: list[bytes] = []

    def start(self, requests: Iterator[bytes]) -> asyncio.Future[None]:
        self._requests = requests
        done = self._done = asyncio.get_running_loop().create_future()
        self._send_next()
        return done

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(error or ConnectionError("the API server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self._on_whole_body is not None or self._parser.get_status_code() >= 300:
            self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        body = b"".join(self._body)
        self._body.clear()
        if status >= 300:
            self._finish(RequestRefused(status, body))
            return
        if self._on_whole_body is not None:
            self._on_whole_body(body)
        self._send_next()

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._finish(None)
        else:
            self._transport.write(request)

    def _finish(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        if done is None or done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
