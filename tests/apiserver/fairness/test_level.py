"""Seats and queues of one level."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.fairness.level import Level, Rejected, deal


def level(seats: int, *, queues: int = 0, hand: int = 1, length: int = 3) -> Level:
    response: dict[str, Any] = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
        response = {"type": "Queue", "queuing": queuing}
    made = Level("l", lambda: 0.0, lambda _: False)
    spec = {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": response}}
    made.configure(spec, seats, 1)
    return made


async def test_without_queues_the_surplus_is_rejected() -> None:
    small = level(2)
    first = small.take({}, "a")
    small.take({}, "a")
    with pytest.raises(Rejected, match="concurrency-limit"):
        small.take({}, "a")
    first.release()
    assert small.take({}, "a").waiting is None


async def test_a_queue_has_an_end_and_is_served_in_order() -> None:
    small = level(1, queues=1, length=2)
    running = small.take({}, "a")
    waiting = [small.take({}, "a"), small.take({}, "a")]
    with pytest.raises(Rejected, match="queue-full"):
        small.take({}, "a")
    running.release()
    small.dispatch()
    assert [seat.waiting is not None and seat.waiting.done() for seat in waiting] == [True, False]
    small.leave(waiting[1])
    waiting[0].release()
    assert (small.waiting, small.executing) == (0, 0)


async def test_a_small_flow_is_not_drowned_by_a_large_one() -> None:
    small = level(1, queues=64, length=100)
    running = small.take({}, "x")
    large = [small.take({}, "large") for _ in range(50)]
    little = small.take({}, "little")
    assert little.queue is not large[0].queue
    finished = 0
    seat = running
    while little.waiting is not None and not little.waiting.done():
        seat.release()
        small.dispatch()
        seat = next(each for each in [little, *large[finished:]] if each.waiting is not None and each.waiting.done())
        finished += seat is not little
    assert finished <= 2


async def test_fewer_queues_lose_nobody() -> None:
    small = level(1, queues=8, length=10)
    small.take({}, "x")
    waiting = [small.take({}, str(number)) for number in range(8)]
    response = {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 10}}
    spec = {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": response}}
    small.configure(spec, 100, 1)
    small.dispatch()
    assert all(seat.waiting is not None and seat.waiting.done() for seat in waiting)
    assert (small.waiting, small.executing) == (0, 9)


@given(st.text(), st.integers(1, 128), st.integers(1, 10))
def test_a_hand_has_distinct_cards(flow: str, deck: int, hand: int) -> None:
    cards = deal(flow, deck, hand)
    assert len(set(cards)) == len(cards) == min(hand, deck)
    assert all(0 <= card < deck for card in cards)
    assert cards == deal(flow, deck, hand)
