"""WebSockets that are translated to SPDY, between a client and a runtime that a test plays."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator

import pytest

from pilothouse.kit.http.websocket import masked
from tests.kubelet.server.conftest import ServedBench

MASK = b"\x01\x02\x03\x04"


class SpdyRuntime:
    """A runtime's streaming server: knows streams by type, says what it was told, sends what it is told to."""

    def __init__(self) -> None:
        self.streams: dict[str, int] = {}
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.head = b""
        self.opened = asyncio.Event()
        self.gone = asyncio.Event()
        self.expected = 1
        self._inflate = zlib.decompressobj()
        self.writer: asyncio.StreamWriter

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\n")
        try:
            while True:
                head = await reader.readexactly(8)
                self._take(head, await reader.readexactly(int.from_bytes(head[5:])))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()

    def _take(self, head: bytes, payload: bytes) -> None:
        if head[0] & 0x80:
            assert head[:4] == b"\x80\x03\x00\x01", "only SYN_STREAM is expected"
            block = self._inflate.decompress(payload[10:])
            assert block[:4] == b"\0\0\0\1"
            name_size = int.from_bytes(block[4:8])
            assert block[8 : 8 + name_size] == b"streamtype"
            self.streams[block[12 + name_size :].decode()] = int.from_bytes(payload[:4])
            if len(self.streams) == self.expected:
                self.opened.set()
            return
        stream = int.from_bytes(head[:4])
        self.received[stream] = self.received.get(stream, b"") + payload
        if head[4] & 1:
            self.ended.add(stream)

    def send(self, kind: str, data: bytes, *, last: bool = False) -> None:
        self.writer.write(self.streams[kind].to_bytes(4) + bytes((int(last),)) + len(data).to_bytes(3) + data)

    def reset(self, kind: str) -> None:
        self.writer.write(b"\x80\x03\x00\x03\0\0\0\x08" + self.streams[kind].to_bytes(4) + b"\0\0\0\5")


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, payload: bytes, opcode: int = 2) -> None:
        assert len(payload) < 126
        self.writer.write(bytes((0x80 | opcode, 0x80 | len(payload))) + MASK + masked(payload, MASK))

    async def receive(self) -> tuple[int, bytes]:
        async with asyncio.timeout(10):
            first, size = await self.reader.readexactly(2)
            return first & 0xF, await self.reader.readexactly(size)


@pytest.fixture
async def runtime(served: ServedBench) -> AsyncIterator[SpdyRuntime]:
    made = SpdyRuntime()
    await served.ready_pod()
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    served.stream_to = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/exec/token"
    yield made
    listener.close()
    await listener.wait_closed()


async def connect(served: ServedBench, target: str, protocols: str = "v5.channel.k8s.io, v4.channel.k8s.io") -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.http.port)
    key = base64.b64encode(b"0" * 16).decode()
    writer.write(
        f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        f"sec-websocket-key: {key}\r\nsec-websocket-protocol: {protocols}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert f"sec-websocket-protocol: {protocols.split(',')[0]}\r\n".encode() in head
    return Client(reader, writer)


async def until(condition: asyncio.Event) -> None:
    await asyncio.wait_for(condition.wait(), 10)


async def test_a_command_with_input_output_and_status(served: ServedBench, runtime: SpdyRuntime) -> None:
    runtime.expected = 4
    client = await connect(served, "/exec/default/web/main?command=cat&input=1&output=1&error=1")
    assert await client.receive() == (2, b"\1")
    await until(runtime.opened)
    assert list(runtime.streams) == ["error", "stdin", "stdout", "stderr"]
    assert runtime.head.startswith(b"POST /exec/token HTTP/1.1\r\n")
    assert b"\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n" in runtime.head
    client.send(b"\0abc")
    client.send(b"there?", opcode=9)
    assert await client.receive() == (10, b"there?")
    client.send(b"\xff\0")
    client.send(b"\0too late")
    client.send(b"", opcode=9)
    assert await client.receive() == (10, b"")
    runtime.send("stdout", b"out")
    assert await client.receive() == (2, b"\1out")
    assert runtime.received[runtime.streams["stdin"]] == b"abc"
    assert runtime.ended == {runtime.streams["stdin"]}
    runtime.send("stderr", b"err", last=True)
    assert await client.receive() == (2, b"\2err")
    runtime.send("error", b'{"status":"Success"}')
    runtime.reset("error")
    runtime.send("stdout", b"", last=True)
    assert await client.receive() == (2, b'\3{"status":"Success"}')
    assert await client.receive() == (8, b"\x03\xe8")
    client.send(b"\x03\xe8", opcode=8)
    assert await asyncio.wait_for(client.reader.read(), 10) == b""
    await until(runtime.gone)


async def test_a_terminal_is_resized(served: ServedBench, runtime: SpdyRuntime) -> None:
    runtime.expected = 4
    client = await connect(served, "/attach/default/web/main?input=1&output=1&error=1&tty=1")
    await until(runtime.opened)
    assert list(runtime.streams) == ["error", "stdin", "stdout", "resize"]
    client.send(b'\4{"Width":80,"Height":24}')
    client.send(b"", opcode=9)
    await client.receive()
    await client.receive()
    assert runtime.received == {runtime.streams["resize"]: b'{"Width":80,"Height":24}'}
    client.writer.close()
    await until(runtime.gone)


async def test_a_runtime_that_goes_away_ends_the_client(served: ServedBench, runtime: SpdyRuntime) -> None:
    runtime.expected = 2
    client = await connect(served, "/exec/default/web/main?command=cat&output=1")
    await client.receive()
    await until(runtime.opened)
    runtime.writer.close()
    assert await client.receive() == (8, b"\x03\xe8")
    client.writer.close()


async def test_a_client_that_breaks_the_protocol(served: ServedBench, runtime: SpdyRuntime) -> None:
    client = await connect(served, "/exec/default/web/main?command=cat&output=1")
    await client.receive()
    client.writer.write(b"\x82\x01x")
    opcode, payload = await client.receive()
    assert (opcode, payload[:2]) == (8, b"\x03\xea")
    await until(runtime.gone)
    client.writer.close()


async def test_port_forward_carries_the_connection_in_messages(served: ServedBench) -> None:
    async def runtime(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nx-stream-protocol-version: portforward.k8s.io\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\n")
        writer.write(b"echo " + await reader.readexactly(6))
        writer.close()

    await served.ready_pod()
    async with await asyncio.start_server(runtime, "127.0.0.1", 0) as listener:
        served.stream_to = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/portforward/token"
        client = await connect(served, "/portForward/default/web", "SPDY/3.1+portforward.k8s.io")
        client.send(b"abc")
        client.send(b"def")
        assert await client.receive() == (2, b"echo abcdef")
        assert await client.receive() == (8, b"\x03\xe8")
        client.writer.close()
