"""Answers on their way out.

To write to a client that waits means to wake it, which takes longer than most answers take to make. So the answers that are made in one
turn of the event loop are written together at its end: by then whoever was woken first is still at work, and sees the others come in.
"""

from __future__ import annotations

import asyncio

_PIECE_BYTES = 256 * 1024
_AT_ONCE = 32
"""How many answers may wait, so that the first of a busy turn does not wait for all others."""


class Outbox:
    """One for all connections of a server."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` soon; before anything else is written to this transport, or it is closed, call `flush`."""
        waiting = self._waiting
        waiting.append((transport, data))
        if len(waiting) == 1:
            asyncio.get_running_loop().call_soon(self.flush)
        elif len(waiting) >= _AT_ONCE:
            self.flush()

    def write_large(self, transport: asyncio.Transport, head: bytes, body: bytes, *, in_pieces: bool) -> None:
        """Write at once, after what waits. `in_pieces` is for TLS: OpenSSL grows a buffer to the size of what it is given, copy by copy."""
        self.flush()
        if not in_pieces:
            transport.writelines((head, body))
            return
        view = memoryview(body)
        transport.writelines((head, view[:_PIECE_BYTES]))
        for start in range(_PIECE_BYTES, len(body), _PIECE_BYTES):
            transport.write(view[start : start + _PIECE_BYTES])

    def flush(self) -> None:
        """Write what waits, in the order in which it came. A connection that fails takes no other's answer along."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for transport, data in waiting:
                if transport.is_closing():
                    continue
                try:
                    transport.write(data)
                except (OSError, RuntimeError):
                    # What is beneath it was closed, and it has not been told yet.
                    transport.abort()
