"""The client's end of SPDY/3.1, as far as Kubernetes' streams use it: streams with headers, data, and their ends.

There is no flow control, as the other end (moby/spdystream) has none. Headers are compressed without the preset dictionary, which a
receiver then need not use; those of answers are not looked at. Source: SPDY Protocol, draft 3.1.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from pilothouse.kit.http.plain_stream import Reader, Writer

_CONTROL = 0x80
_VERSION = 3
_FIN = 0x01
_DATA_BYTES = 64 * 1024


class _Type(IntEnum):
    SYN_STREAM = 1
    RST_STREAM = 3
    PING = 6
    GOAWAY = 7


@dataclass(frozen=True, slots=True)
class Part:
    """What a stream brought: some data, its end, or both."""

    stream: int
    data: bytes
    is_last: bool


class SpdyConnection:
    """Streams over a connection that left HTTP. One task may receive while others send."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._compressor = zlib.compressobj()
        self._next_stream = 1

    async def open(self, headers: Mapping[str, str]) -> int:
        """Open a stream and give its number. Raises OSError."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        block = len(headers).to_bytes(4) + b"".join(
            len(text).to_bytes(4) + text
            for name, value in headers.items()
            for text in (name.lower().encode("latin-1"), value.encode("latin-1"))
        )
        packed = self._compressor.compress(block) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        await self._control(_Type.SYN_STREAM, stream.to_bytes(4) + bytes(6) + packed)
        return stream

    async def send(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        """Send data on a stream, and with `is_last` its end. Raises OSError."""
        pieces = [data[at : at + _DATA_BYTES] for at in range(0, len(data), _DATA_BYTES)] or [b""]
        for number, piece in enumerate(pieces, 1):
            flags = _FIN if is_last and number == len(pieces) else 0
            self._writer.write(stream.to_bytes(4) + bytes((flags,)) + len(piece).to_bytes(3) + piece)
            await self._writer.drain()

    async def receive(self) -> Part | None:
        """What a stream brings next; None when the connection has ended. Raises OSError."""
        while True:
            try:
                head = await self._reader.readexactly(8)
                payload = await self._reader.readexactly(int.from_bytes(head[5:]))
            except asyncio.IncompleteReadError:
                return None
            if not head[0] & _CONTROL:
                return Part(int.from_bytes(head[:4]), payload, bool(head[4] & _FIN))
            kind = int.from_bytes(head[2:4])
            if kind == _Type.RST_STREAM:
                return Part(int.from_bytes(payload[:4]) & 0x7FFFFFFF, b"", is_last=True)
            if kind == _Type.PING:
                await self._control(_Type.PING, payload)
            elif kind == _Type.GOAWAY:
                return None

    def close(self) -> None:
        self._writer.close()

    async def _control(self, kind: _Type, payload: bytes) -> None:
        head = bytes((_CONTROL, _VERSION)) + kind.to_bytes(2) + b"\0" + len(payload).to_bytes(3)
        self._writer.write(head + payload)
        await self._writer.drain()
