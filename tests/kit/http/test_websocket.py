"""The server's end of a WebSocket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.kit.http.websocket import (
    CloseCode,
    Opcode,
    ProtocolError,
    WebSocket,
    accept,
    frame,
    masked,
    offered_protocols,
)

MASK = b"\x01\x02\x03\x04"


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return


def sent(opcode: int, payload: bytes, *, final: bool = True, mask: bool = True) -> bytes:
    """A frame as a client sends it."""
    plain = bytearray(frame(Opcode.BINARY, payload))
    head = bytes(plain[: len(plain) - len(payload)])
    first = (0x80 if final else 0) | opcode
    if not mask:
        return bytes((first,)) + head[1:] + payload
    return bytes((first, head[1] | 0x80)) + head[2:] + MASK + masked(payload, MASK)


def socket(*frames: bytes) -> tuple[WebSocket, Any]:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(frames))
    reader.feed_eof()
    sink: Any = Sink()
    return WebSocket(reader, sink), sink


def test_the_answer_of_rfc_6455() -> None:
    headers = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
    assert accept(headers, "chat")["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for wrong in ({**headers, "sec-websocket-version": "8"}, {**headers, "sec-websocket-key": ""}, {}):
        with pytest.raises(ProtocolError):
            accept(wrong, "chat")


def test_offered_protocols() -> None:
    assert offered_protocols({"upgrade": "WebSocket", "sec-websocket-protocol": "a, b,"}) == ("a", "b")
    assert offered_protocols({"upgrade": "SPDY/3.1", "sec-websocket-protocol": "a"}) == ()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_001])
async def test_messages_of_all_sizes(size: int) -> None:
    payload = bytes(i % 251 for i in range(size))
    ws, sink = socket(sent(Opcode.BINARY, payload))
    assert await ws.receive() == payload
    assert await ws.receive() is None
    await ws.send(payload)
    assert sink.data.endswith(payload)
    assert len(sink.data) == size + (2 if size < 126 else 4 if size < 65536 else 10)


async def test_messages_in_parts_with_pings_between() -> None:
    ws, sink = socket(
        sent(Opcode.TEXT, b"a", final=False),
        sent(Opcode.PING, b"there?"),
        sent(Opcode.CONTINUATION, b"", final=False),
        sent(Opcode.PONG, b""),
        sent(Opcode.CONTINUATION, b"b"),
    )
    assert await ws.receive() == b"ab"
    assert sink.data == frame(Opcode.PONG, b"there?")


async def test_close_is_answered_once() -> None:
    ws, sink = socket(sent(Opcode.CLOSE, b"\x03\xe8"))
    assert await ws.receive() is None
    await ws.close(CloseCode.NORMAL)
    await ws.send(b"late")
    assert sink.data == frame(Opcode.CLOSE, b"\x03\xe8")


@pytest.mark.parametrize(
    "frames",
    [
        sent(Opcode.BINARY, b"x", mask=False),
        sent(3, b"x"),
        sent(Opcode.CONTINUATION, b"x"),
        sent(Opcode.TEXT, b"x", final=False) + sent(Opcode.TEXT, b"x"),
        sent(Opcode.PING, b"x" * 126),
        sent(Opcode.PING, b"", final=False),
        b"\xc2\x80" + MASK,
        b"\x82\xff" + (1 << 40).to_bytes(8) + MASK,
    ],
)
async def test_what_breaks_the_protocol(frames: bytes) -> None:
    ws, _ = socket(frames)
    with pytest.raises(ProtocolError):
        await ws.receive()


@pytest.mark.parametrize("cut", [1, 2, 5, 6])
async def test_a_connection_that_breaks_off(cut: int) -> None:
    ws, _ = socket(sent(Opcode.BINARY, b"x" * 10)[:cut])
    assert await ws.receive() is None
