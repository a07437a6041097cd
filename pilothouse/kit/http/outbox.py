"""Answers on their way out.

To write to a client that waits means to wake it, which takes longer than most answers take to make. So the answers that are made in one
turn of the event loop are written together at its end: by then whoever was woken first is still at work, and sees the others come in.
"""

from __future__ import annotations

import asyncio

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

    def flush(self) -> None:
        """Write what waits, in the order in which it came."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for transport, data in waiting:
                if not transport.is_closing():
                    transport.write(data)
