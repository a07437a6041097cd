"""How a refused request ends."""

from __future__ import annotations

import asyncio
from typing import cast

from pilothouse.kit.http.refusal import Refusal
from pilothouse.kit.http.target import Malformed


class Wire:
    """A transport that keeps what is done with it."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def write(self, data: bytes) -> None:
        self.log.append(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.log.append("end")

    def resume_reading(self) -> None:
        self.log.append("read on")


def test_the_client_may_send_on_for_a_moment_after_the_answer() -> None:
    refusal, wire = Refusal(Malformed("bad", 400)), Wire()
    assert refusal.drop(2**30)
    refusal.answer(cast(asyncio.Transport, wire), b"no")
    assert wire.log == [b"no", "end", "read on"]
    assert refusal.drop(16 * 1024 * 1024)
    assert not refusal.drop(1)
