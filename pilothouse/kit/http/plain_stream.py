"""A plain TCP connection as a pair of streams whose two directions fail apart.

asyncio's transports close the whole connection when a write fails, and with it what the other end has sent before it went away: a
process's last words, when it ends while its input still flows. Here such bytes can still be read.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

_PIECE_BYTES = 64 * 1024


class Reader(Protocol):
    """What is read from; `asyncio.StreamReader` is one."""

    async def read(self, n: int = -1) -> bytes: ...

    async def readexactly(self, n: int) -> bytes: ...


class Writer(Protocol):
    """What is written to; `asyncio.StreamWriter` is one."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class PlainStream:
    """Both ends of the pair. One task may read while another writes. All methods raise OSError where the connection is broken."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()

    @classmethod
    async def connect(cls, host: str, port: int) -> PlainStream:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    async def read(self, n: int = _PIECE_BYTES) -> bytes:
        """At most `n` bytes; empty at the end."""
        if self._received:
            data = bytes(self._received[:n])
            del self._received[:n]
            return data
        return await self._loop.sock_recv(self._connection, n)

    async def readexactly(self, n: int) -> bytes:
        """Raises asyncio.IncompleteReadError at the end."""
        while len(self._received) < n:
            await self._fill(n)
        return await self.read(n) if n else b""

    async def readuntil(self, separator: bytes, limit: int) -> bytes:
        """Up to and with the separator. Raises asyncio.IncompleteReadError, ValueError if that is longer than `limit`."""
        while (at := self._received.find(separator)) < 0:
            if len(self._received) > limit:
                raise ValueError("the answer's head is too long")
            await self._fill(limit)
        return await self.read(at + len(separator))

    async def _fill(self, expected: int) -> None:
        piece = await self._loop.sock_recv(self._connection, _PIECE_BYTES)
        if not piece:
            raise asyncio.IncompleteReadError(bytes(self._received), expected)
        self._received += piece

    def write(self, data: bytes) -> None:
        """Have `data` sent by the next `drain`."""
        self._unsent += data

    async def drain(self) -> None:
        data, self._unsent = self._unsent, bytearray()
        if data:
            await self._loop.sock_sendall(self._connection, data)

    def close(self) -> None:
        self._connection.close()
