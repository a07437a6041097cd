"""Seats and queues of one level."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.fairness.level import Flow, Group, Level, Refused, Seat, deal
from pilothouse.apiserver.fairness.work import ONE, Work
from pilothouse.apiserver.route import request_info

PODS = request_info("GET", "/api/v1/namespaces/a/pods", {})


def level(seats: int, *, queues: int = 0, hand: int = 1, length: int = 3) -> Level:
    made = Level("l", lambda: 0.0)
    configure(made, seats, queues, hand, length)
    return made


def configure(made: Level, seats: int, queues: int, hand: int, length: int) -> None:
    response: dict[str, Any] = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
        response = {"type": "Queue", "queuing": queuing}
    spec = {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": response}}
    made.configure(spec, seats, 1)
    made.current = made.limits.nominal


def take(of: Level, flow: str, work: Work = ONE) -> Seat:
    seat = Seat(Flow(Group("g", of, {}), flow), work, PODS, "alice", 0.0)
    of.take(seat)
    return seat


def may_begin(seat: Seat) -> bool:
    return seat.waiting is None or seat.waiting.done()


async def test_without_queues_the_surplus_is_rejected() -> None:
    small = level(2)
    first = take(small, "a")
    take(small, "a")
    with pytest.raises(Refused, match="concurrency-limit"):
        take(small, "a")
    small.finish(first)
    assert take(small, "a").waiting is None


async def test_a_queue_has_an_end_and_is_served_in_order() -> None:
    small = level(1, queues=1, length=2)
    running = take(small, "a")
    waiting = [take(small, "a"), take(small, "a")]
    with pytest.raises(Refused, match="queue-full"):
        take(small, "a")
    small.finish(running)
    small.dispatch()
    assert [may_begin(seat) for seat in waiting] == [True, False]
    small.leave(waiting[1], "cancelled")
    small.finish(waiting[0])
    assert (small.waiting, small.executing, small.seats, small.cancelled) == (0, 0, 0, 1)


async def test_a_small_flow_is_not_drowned_by_a_large_one() -> None:
    small = level(1, queues=64, length=100)
    running = take(small, "x")
    large = [take(small, "large") for _ in range(50)]
    little = take(small, "little")
    assert little.queue is not large[0].queue
    finished = 0
    seat = running
    while not may_begin(little):
        small.finish(seat)
        small.dispatch()
        seat = next(each for each in [little, *large[finished:]] if may_begin(each))
        finished += seat is not little
    assert finished <= 2


async def test_fewer_queues_lose_nobody() -> None:
    small = level(1, queues=8, length=10)
    take(small, "x")
    waiting = [take(small, str(number)) for number in range(8)]
    configure(small, 100, 1, 1, 10)
    small.dispatch()
    assert all(may_begin(seat) for seat in waiting)
    assert (small.waiting, small.executing) == (0, 9)


async def test_a_wide_request_waits_until_all_its_seats_are_free() -> None:
    small = level(10, queues=1, length=10)
    narrow = [take(small, "a") for _ in range(4)]
    wide = take(small, "b", Work(8))
    assert not may_begin(wide)
    # Whoever comes after it waits as well: it would never get its seats otherwise.
    late = take(small, "c")
    assert not may_begin(late)
    for seat in narrow[:2]:
        small.finish(seat)
        small.dispatch()
    assert may_begin(wide)
    assert small.seats == 10
    assert not may_begin(late)
    small.finish(wide)
    small.dispatch()
    assert may_begin(late)


async def test_a_request_wider_than_the_level_runs_alone() -> None:
    small = level(2, queues=1, length=10)
    first = take(small, "a")
    wide = take(small, "a", Work(5))
    assert not may_begin(wide)
    small.finish(first)
    small.dispatch()
    assert may_begin(wide)
    assert not may_begin(take(small, "b"))


async def test_the_way_of_most_requests_counts_the_same() -> None:
    small = level(2, queues=1, length=10)
    flow = Flow(Group("g", small, {}), "a")
    assert small.sit(flow)
    assert small.sit(flow)
    assert not small.sit(flow)
    assert (small.seats, small.executing, small.peak) == (2, 2, 2)
    small.stand(flow)
    waiting = take(small, "a", Work(2))
    assert not small.sit(flow), "nobody overtakes those who wait"
    small.stand(flow)
    small.dispatch()
    assert may_begin(waiting)
    small.finish(waiting)
    assert (small.seats, small.executing, flow.group.executing, flow.group.dispatched) == (0, 0, 0, 2)


@given(st.text(), st.integers(1, 128), st.integers(1, 10))
def test_a_hand_has_distinct_cards(flow: str, deck: int, hand: int) -> None:
    cards = deal(flow, deck, hand)
    assert len(set(cards)) == len(cards) == min(hand, deck)
    assert all(0 <= card < deck for card in cards)
    assert cards == deal(flow, deck, hand)
