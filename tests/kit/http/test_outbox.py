"""Answers of one turn of the event loop are written together."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from pilothouse.kit.http.outbox import Outbox


class Wire:
    """A transport that keeps what is written to it, in a log that it shares with others."""

    def __init__(self, log: list[tuple[str, bytes]], name: str) -> None:
        self._log = log
        self._name = name
        self.is_gone = False
        self.is_broken = False

    def abort(self) -> None:
        self.is_gone = True

    def write(self, data: bytes) -> None:
        if self.is_broken:
            raise RuntimeError("the handler is closed")
        self._log.append((self._name, data))

    def is_closing(self) -> bool:
        return self.is_gone


def wires(count: int) -> tuple[list[tuple[str, bytes]], list[Any]]:
    log: list[tuple[str, bytes]] = []
    return log, [cast(asyncio.Transport, Wire(log, f"w{number}")) for number in range(count)]


async def test_what_is_put_in_one_turn_is_written_at_its_end_in_order() -> None:
    outbox = Outbox()
    log, (one, other) = wires(2)
    outbox.put(one, b"1")
    outbox.put(other, b"2")
    outbox.put(one, b"3")
    assert not log
    await asyncio.sleep(0)
    assert log == [("w0", b"1"), ("w1", b"2"), ("w0", b"3")]
    outbox.put(other, b"4")
    await asyncio.sleep(0)
    assert log[-1] == ("w1", b"4")


async def test_many_do_not_wait_for_the_end_of_the_turn() -> None:
    outbox = Outbox()
    log, (one,) = wires(1)
    for number in range(40):
        outbox.put(one, b"%d" % number)
    assert len(log) == 32
    await asyncio.sleep(0)
    assert [data for _, data in log] == [b"%d" % number for number in range(40)]


async def test_a_client_that_has_gone_is_passed_over() -> None:
    outbox = Outbox()
    log, (one, other) = wires(2)
    outbox.put(one, b"1")
    outbox.put(other, b"2")
    one.is_gone = True
    outbox.flush()
    assert log == [("w1", b"2")]


async def test_a_connection_that_fails_takes_no_others_answer_along() -> None:
    outbox = Outbox()
    log, (one, other) = wires(2)
    one.is_broken = True
    outbox.put(one, b"1")
    outbox.put(other, b"2")
    outbox.put(one, b"3")
    outbox.flush()
    assert log == [("w1", b"2")]
    assert one.is_gone
