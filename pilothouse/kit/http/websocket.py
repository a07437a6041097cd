"""The server's end of a WebSocket (RFC 6455): messages over a connection that left HTTP.

Pings are answered here; extensions are not offered.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from enum import IntEnum

MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message that is taken; a larger one ends the connection."""
_ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL, _MASKED = 0x80, 0x80


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011


class ProtocolError(Exception):
    """The client does not speak WebSocket as it must."""

    def __init__(self, message: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


def offered_protocols(headers: Mapping[str, str]) -> Sequence[str]:
    """The subprotocols of a WebSocket request, the client's favourite first; none for any other request."""
    if headers.get("upgrade", "").strip().lower() != "websocket":
        return ()
    return tuple(text.strip() for text in headers.get("sec-websocket-protocol", "").split(",") if text.strip())


def accept(headers: Mapping[str, str], protocol: str) -> dict[str, str]:
    """The headers of the answer that opens the WebSocket; `protocol` is empty where the client offered none.

    Raises ProtocolError for a request without key or of another version.
    """
    key = headers.get("sec-websocket-key", "")
    if headers.get("sec-websocket-version") != "13" or not key:
        raise ProtocolError("the request must have Sec-WebSocket-Version 13 and a Sec-WebSocket-Key")
    digest = hashlib.sha1(key.encode("latin-1") + _ACCEPT_SALT, usedforsecurity=False).digest()
    answer = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": base64.b64encode(digest).decode(),
    }
    if protocol:
        answer["sec-websocket-protocol"] = protocol
    return answer


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """An unmasked final frame, as servers send them."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, size))
    elif size < 65536:
        head = bytes((_FINAL | opcode, 126)) + size.to_bytes(2)
    else:
        head = bytes((_FINAL | opcode, 127)) + size.to_bytes(8)
    return head + payload


def masked(payload: bytes, mask: bytes) -> bytes:
    """`payload` with its mask put on or taken off."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


class WebSocket:
    """Messages over a pair of streams. One task may receive while others send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._is_closed = False

    async def receive(self) -> bytes | None:
        """The next message's payload; None once the client has closed. Raises ProtocolError, ConnectionError."""
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                is_final, opcode, payload = await self._frame()
            except asyncio.IncompleteReadError:
                return None
            if opcode is Opcode.CLOSE:
                await self.close(CloseCode.NORMAL)
                return None
            if opcode is Opcode.PING:
                await self._send(Opcode.PONG, payload)
                continue
            if opcode is Opcode.PONG:
                continue
            if (opcode is Opcode.CONTINUATION) is not bool(parts):
                raise ProtocolError("a message is continued that was not begun, or begun within another")
            parts.append(payload)
            size += len(payload)
            if size > MESSAGE_BYTES:
                raise ProtocolError("the message is too large", CloseCode.TOO_BIG)
            if is_final:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def send(self, payload: bytes) -> None:
        """Send a binary message. Raises ConnectionError."""
        await self._send(Opcode.BINARY, payload)

    async def send_text(self, payload: bytes) -> None:
        """Send a text message, which must be UTF-8. Raises ConnectionError."""
        await self._send(Opcode.TEXT, payload)

    async def close(self, code: CloseCode, reason: str = "") -> None:
        """Tell the client that nothing follows. Idempotent."""
        if not self._is_closed:
            await self._send(Opcode.CLOSE, code.to_bytes(2) + reason.encode()[:123])
            self._is_closed = True

    async def _send(self, opcode: Opcode, payload: bytes) -> None:
        if not self._is_closed:
            self._writer.write(frame(opcode, payload))
            await self._writer.drain()

    async def _frame(self) -> tuple[bool, Opcode, bytes]:
        first, second = await self._reader.readexactly(2)
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise ProtocolError(f"unknown opcode {first & 0x0F}") from None
        if first & 0x70 or not second & _MASKED:
            raise ProtocolError("a client's frame must be masked and without extensions")
        size = second & 0x7F
        is_final = bool(first & _FINAL)
        if opcode >= Opcode.CLOSE and (size > 125 or not is_final):
            raise ProtocolError("a control frame is too long or in parts")
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2))
        elif size == 127:
            size = int.from_bytes(await self._reader.readexactly(8))
        if size > MESSAGE_BYTES:
            raise ProtocolError("the message is too large", CloseCode.TOO_BIG)
        mask = await self._reader.readexactly(4)
        return is_final, opcode, masked(await self._reader.readexactly(size), mask)
