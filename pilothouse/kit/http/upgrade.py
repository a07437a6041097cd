"""Leaving HTTP: a connection becomes a pair of streams for WebSocket, SPDY or whatever both ends agreed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pilothouse.kit.http.message import Takeover
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.http")


class _RawProtocol(asyncio.StreamReaderProtocol):
    """A stream pair's protocol that says when its connection is gone."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        super().__init__(reader, loop=loop)
        self._lost = lost

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._lost()


def hand_over(
    transport: asyncio.Transport, received: bytes, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams over `transport`, beginning with what was `received` already. Calls `lost` when the connection is gone."""
    reader = asyncio.StreamReader(limit=256 * 1024, loop=loop)
    protocol = _RawProtocol(reader, loop, lost)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if received:
        reader.feed_data(received)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def speak(takeover: Takeover, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let `takeover` speak until it returns or fails; a client that goes away is no failure."""
    try:
        await takeover(reader, writer)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    except Exception:
        log.exception("connection that left HTTP failed")
