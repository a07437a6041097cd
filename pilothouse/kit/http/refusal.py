"""How a request ends that cannot be read to its end."""

from __future__ import annotations

import asyncio

from pilothouse.kit.http.target import Malformed

_LINGER_BYTES = 16 * 1024 * 1024
"""How much is read, and dropped, before the connection is cut off."""


class Refusal:
    """It is answered after the requests before it, as the last on its connection.

    A connection that is closed with bytes unread is reset, and the client may lose the answer: so it may send on for a moment, unheard.
    """

    __slots__ = ("_left_bytes", "error", "is_answered")

    def __init__(self, error: Malformed) -> None:
        self.error = error
        self.is_answered = False
        self._left_bytes = _LINGER_BYTES

    def answer(self, transport: asyncio.Transport, answer: bytes) -> None:
        self.is_answered = True
        transport.write(answer)
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()

    def drop(self, size: int) -> bool:
        """Take no notice of `size` bytes that follow; False if the client has sent on for too long."""
        if self.is_answered:
            self._left_bytes -= size
        return self._left_bytes >= 0
