"""Clients that mean harm, over real sockets: each is cut off, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock, VirtualClock
from pilothouse.kit.http.feed import Feed
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tls import server_context, unverified_client_context
from pilothouse.kit.pki import Authority, Certificate, Pki
from tests.kit.http.exchange import Exchange

GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def settle(turns: int = 50) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come to that")


async def is_served(exchange: Exchange) -> bool:
    return b"GET /good" in await exchange.send(GOOD)


AMBIGUOUS = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way round": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    "a length with a sign": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "a negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc",
    "a length in hexadecimal": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
    "a length beyond 64 bits": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
    "a space before the colon": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a header before its name": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "a bare line feed at the end of the head": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "NUL in a header's name": b"GET / HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n",
    "NUL in the target": b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a broken escape": b"GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "half an escape": b"GET /a%2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an authority as the target": b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a relative target": b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target with a bad host": b"GET http://a<b/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "twice the same host": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@x y\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk size that is no number": CHUNKED + b"zz\r\n",
    "a negative chunk size": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "a chunk size with a prefix": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a chunk ended by a bare line feed": CHUNKED + b"1\na\n0\n\n",
    "a malformed trailer": CHUNKED + b"0\r\nbad trailer\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an encoding after chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
    "a version that is not": b"GET / HTTP/1.9\r\nHost: x\r\n\r\n",
    "HTTP/2 unasked": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS to a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no request at all": b"\x00" * 1000,
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_can_be_read_in_two_ways_is_refused(name: str) -> None:
    """And nothing after it on the same connection is taken for a request."""
    async with Exchange() as exchange:
        answer = await exchange.send(AMBIGUOUS[name] + GOOD)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close\r\n" in answer
        assert await is_served(exchange)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"501"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: magic\r\n\r\n", b"417"),
    ],
)
async def test_what_is_not_offered_is_refused(sent: bytes, code: bytes) -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(sent + GOOD)
    assert answer.startswith(b"HTTP/1.1 " + code)
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_an_absolute_target_names_this_server() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(b"GET http://other:80/a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"GET /a b 0" in answer
        answer = await exchange.send(b"GET http://other?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"GET / b 0" in answer


async def test_the_server_as_a_whole_has_no_options() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_trailers_do_not_pass_for_headers() -> None:
    async with Exchange() as exchange:
        answer = await exchange.send(CHUNKED[:-2] + b"Connection: close\r\n\r\n1\r\na\r\n0\r\nX: smuggled\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"smuggled" not in answer


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /" + b"a" * 3000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(300)),
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 3000,
        CHUNKED + b"0\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(300)),
    ],
)
async def test_floods_of_headers_are_cut_off(flood: bytes) -> None:
    async with Exchange(head_bytes=1000) as exchange:
        answer = await exchange.send(flood)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert await is_served(exchange)


async def test_one_header_in_very_many_lines_costs_no_more_than_its_size() -> None:
    async with Exchange(head_lines=2_000) as exchange:
        answer = await exchange.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 2_001 + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")
        answer = await exchange.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"X: a\r\n" * 1_900 + b"\r\n"
        )
        assert answer.count(b"a, a") == 950


async def test_an_endless_body_is_cut_off_at_the_limit() -> None:
    async with Exchange(body_bytes=10_000) as exchange:
        reader, writer = await exchange.connect()
        writer.write(CHUNKED)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"400\r\n" + b"a" * 0x400 + b"\r\n")
                await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"limit is 10000" in answer
        assert await is_served(exchange)


async def test_a_client_that_sends_on_after_a_refusal_still_gets_it() -> None:
    """Were the connection closed at once, what it sends would reset it, and the answer be lost."""
    async with Exchange(body_bytes=10) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        for _ in range(40):
            writer.write(b"a" * 100_000)
            await writer.drain()
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_never_stops_sending_after_a_refusal_is_cut_off() -> None:
    async with Exchange(clock=(clock := VirtualClock()), body_bytes=10) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await clock.advance(3)
        await settle()
        assert not exchange.server.connections


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [(b"", 92), (b"GET / HTTP/1.1\r\n", 34), (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n", 34)],
)
async def test_clients_that_keep_silent_are_cut_off(sent: bytes, seconds: int) -> None:
    async with Exchange(clock=(clock := VirtualClock())) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b"GET /ready  0 "))
        writer.write(sent)
        await writer.drain()
        await settle()
        await clock.advance(seconds)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        assert not exchange.server.connections


@pytest.mark.parametrize("head", [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n", CHUNKED + b"4000\r\n"])
async def test_a_body_that_comes_byte_by_byte_must_be_there_in_time(head: bytes) -> None:
    async with Exchange(clock=(clock := VirtualClock())) as exchange:
        reader, writer = await exchange.connect()
        writer.write(head)
        for _ in range(62):
            writer.write(b"a")
            await writer.drain()
            await settle()
            await clock.advance(1)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"request did not complete within the allotted timeout" in answer


async def test_headers_that_come_byte_by_byte_must_be_there_in_time() -> None:
    async with Exchange(clock=(clock := VirtualClock())) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(40):
            writer.write(b"a")
            await settle()
            await clock.advance(1)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_thousands_of_idle_connections_make_room_for_one_that_asks() -> None:
    async with Exchange(connections=200) as exchange:
        idle = [await exchange.connect() for _ in range(600)]
        assert await is_served(exchange)
        assert len(exchange.server.connections) <= 200
        # The oldest had to go.
        assert await asyncio.wait_for(idle[0][0].read(), 5) == b""


async def test_a_connection_at_work_is_not_given_up_for_another() -> None:
    release = asyncio.Event()

    async def app(request: Request) -> Response:
        await release.wait()
        return Response(200)

    async with Exchange(app, connections=2) as exchange:
        working = [await exchange.connect() for _ in range(2)]
        for _, writer in working:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await until(lambda: sum(not each.is_idle for each in exchange.server.connections) == 2)
        late, _ = await exchange.connect()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(late.read(), 5) == b""
        release.set()
        for reader, _ in working:
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")


async def test_pipelined_bodies_are_not_hoarded() -> None:
    """While one request is worked on, no more than one body's worth of further ones is taken in."""
    release = asyncio.Event()

    async def app(request: Request) -> Response:
        await release.wait()
        return Response(200)

    async with Exchange(app, body_bytes=1_000_000) as exchange:
        reader, writer = await exchange.connect()
        for _ in range(8):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"a" * 900_000)
        writer.write(GOOD)
        await settle(2000)
        (connection,) = exchange.server.connections
        assert len(connection._queue) <= 3
        release.set()
        assert (await asyncio.wait_for(reader.read(), 10)).count(b"HTTP/1.1 200 ") == 9


async def test_what_nobody_waits_for_any_more_is_cancelled() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def app(request: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response(200)

    async with Exchange(app) as exchange:
        _, writer = await exchange.connect()
        writer.write(GOOD)
        await asyncio.wait_for(begun.wait(), 5)
        writer.close()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_client_that_does_not_read_is_cut_off_and_its_stream_closed() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"a" * 65536
        finally:
            closed.set()

    async def app(request: Request) -> Response:
        return Response(200, {}, endless())

    async with Exchange(app, clock=(clock := VirtualClock()), write_buffer_bytes=1000) as exchange:
        _, writer = await exchange.connect()
        writer.write(GOOD)
        await until(lambda: any(each._is_paused for each in exchange.server.connections))
        await clock.advance(62)
        await asyncio.wait_for(closed.wait(), 5)
        await settle()
        assert not exchange.server.connections


class News(Feed):
    """A feed that the test fills."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.taken: list[bytes] = []
        self.is_ended = self.is_closed = False
        self._wake = None

    def take(self) -> bytes | None:
        if not self.items:
            return None if self.is_ended else b""
        items, self.items = self.items, []
        self.taken.append(b"".join(items))
        return b"".join(items)

    def when_more(self, wake) -> None:
        if self.items or self.is_ended:
            wake()
        else:
            self._wake = wake

    def close(self) -> None:
        self.is_closed = True

    def add(self, item: bytes) -> None:
        self.items.append(item)
        self.wake()

    def wake(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()


@pytest.fixture
def news() -> News:
    return News()


def feeding(news: News, **limits):
    async def app(request: Request) -> Response:
        return Response(200, {}, news) if request.path == "/good" else Response(200)

    return Exchange(app, **limits)


async def test_a_feed_is_sent_as_it_comes_and_ended_properly(news: News) -> None:
    async with feeding(news) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        news.add(b"one")
        news.add(b"two")
        assert await reader.readuntil(b"two\r\n") == b"6\r\nonetwo\r\n"
        news.add(b"three")
        assert await reader.readuntil(b"three\r\n") == b"5\r\nthree\r\n"
        news.is_ended = True
        news.wake()
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
        assert news.is_closed
        # The connection goes on.
        writer.write(b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")


async def test_a_feed_of_a_client_that_left_is_closed(news: News) -> None:
    async with feeding(news) as exchange:
        reader, writer = await exchange.connect()
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await until(lambda: news.is_closed)
        news.add(b"too late")
        await settle()
        assert not news.taken


async def test_a_feed_waits_for_a_client_that_does_not_read(news: News) -> None:
    async with feeding(news, write_buffer_bytes=1000) as exchange:
        reader, writer = await exchange.connect()
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")
        news.add(b"a" * 8_000_000)
        await settle(200)
        for _ in range(100):
            news.add(b"b")
            await settle(2)
        assert len(news.taken) == 1
        news.is_ended = True
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.count(b"a") >= 8_000_000
        assert b"b" * 100 in answer
        assert answer.endswith(b"0\r\n\r\n")


async def test_stopping_ends_feeds_properly(news: News) -> None:
    async with feeding(news) as exchange:
        reader, writer = await exchange.connect()
        writer.write(b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await exchange.server.stop()
        assert await reader.read() == b"0\r\n\r\n"
        assert news.is_closed


async def test_connections_that_never_speak_tls_are_ended_and_counted(tmp_path: Path) -> None:
    pki = Pki(tmp_path, SystemClock())
    pki.ensure([Authority("ca", "a"), Certificate("server", "x", usages=("server",), ip_addresses=("127.0.0.1",))])
    context = server_context(pki.certificate_path("server"), pki.key_path("server"))
    server = Server(
        Exchange().server.app,
        host="127.0.0.1",
        port=0,
        ssl_context=context,
        clock=(clock := VirtualClock()),
        limits=Limits(handshake_timeout_s=5.0, shutdown_s=0.2),
    )
    await server.start()
    try:
        for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x00" * 100):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(garbage)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 10)
            writer.close()
        trusting = unverified_client_context()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting)
        writer.write(GOOD)
        assert b"GET /good" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await clock.advance(8)
        assert server.handshake_failures == 3
    finally:
        await server.stop()
