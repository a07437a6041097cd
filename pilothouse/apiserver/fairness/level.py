"""A priority level: how many requests it works on at once, and the queues of those that wait.

Within a level, flows are dealt to queues by shuffle sharding, and queues take turns by start-time fair queueing: each queue has the
virtual time at which its next request begins, and the queue with the earliest goes first. A request is charged what requests take on
average before it runs, and the difference when it is done. All of it is synchronous; waiting is a future.

Source: KEP-1040; Goyal, Vin, Chen, "Start-time Fair Queuing" (1996).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

EXPECTED_S = 0.003
"""What a request is charged until it is known how long it took."""

LEAST_S = 0.0005
"""What every request is charged, so that queues of the quickest requests take turns too."""


class Rejected(Exception):
    """The level takes no more requests now."""


class Queue:
    """The requests of some flows, in the order of their arrival."""

    __slots__ = ("begins", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Seat] = deque()
        self.begins = 0.0
        """The virtual time at which the next request begins."""


class Seat:
    """A request's place in a level: held while it is worked on."""

    __slots__ = ("began", "headers", "level", "queue", "waiting")

    def __init__(self, level: Level, headers: Mapping[str, str]) -> None:
        self.level = level
        self.headers = headers
        """What the answer says of how the request was classified."""
        self.waiting: asyncio.Future[None] | None = None
        self.queue: Queue | None = None
        self.began = 0.0

    def release(self) -> None:
        """The request is done."""
        self.level.finish(self)


class Level:
    """`may_borrow` tells whether the other levels leave it a seat beyond its own."""

    def __init__(self, name: str, clock: Callable[[], float], may_borrow: Callable[[Level], bool]) -> None:
        self.name = name
        self.is_exempt = False
        self.nominal = 0
        self.lendable = 0
        self.borrowable: float = 0
        self.executing = 0
        self.waiting = 0
        self.virtual = 0.0
        self._clock = clock
        self._may_borrow = may_borrow
        self._hand = 0
        self._limit = 0
        self._queues: list[Queue] = []

    def configure(self, spec: Mapping[str, Any], total: int, all_shares: int) -> None:
        """Take over a PriorityLevelConfiguration's spec; who waits goes on waiting."""
        self.is_exempt = spec.get("type") == "Exempt"
        settings = spec.get("exempt" if self.is_exempt else "limited") or {}
        self.nominal = -(-total * shares(spec) // max(1, all_shares))
        self.lendable = round(self.nominal * (settings.get("lendablePercent") or 0) / 100)
        percent = settings.get("borrowingLimitPercent")
        self.borrowable = float("inf") if percent is None else round(self.nominal * percent / 100)
        response = settings.get("limitResponse") or {}
        queuing = (response.get("queuing") or {}) if response.get("type") == "Queue" else {}
        count = queuing.get("queues", 64) if response.get("type") == "Queue" else 0
        self._hand = queuing.get("handSize", 8)
        self._limit = queuing.get("queueLengthLimit", 50)
        for queue in self._queues[count:]:
            # What waits in a queue that is no more joins another.
            if self._queues[:count]:
                self._queues[0].waiting.extend(queue.waiting)
                for seat in queue.waiting:
                    seat.queue = self._queues[0]
        if count or not self.waiting:
            self._queues = self._queues[:count] + [Queue() for _ in range(count - len(self._queues))]

    @property
    def has_room(self) -> bool:
        return self.executing < self.nominal or self._may_borrow(self)

    def take(self, headers: Mapping[str, str], flow: str) -> Seat:
        """A seat, which may have to wait. Raises Rejected."""
        seat = Seat(self, headers)
        if self.is_exempt or (not self.waiting and self.has_room):
            self.executing += 1
            return seat
        if not self._queues:
            raise Rejected("concurrency-limit")
        queue = self._shortest(flow)
        if len(queue.waiting) >= self._limit:
            raise Rejected("queue-full")
        if not queue.waiting:
            queue.begins = max(queue.begins, self.virtual)
        seat.queue = queue
        seat.waiting = asyncio.get_running_loop().create_future()
        queue.waiting.append(seat)
        self.waiting += 1
        return seat

    def leave(self, seat: Seat) -> None:
        """Stop waiting."""
        assert seat.queue is not None
        try:
            seat.queue.waiting.remove(seat)
        except ValueError:
            return
        self.waiting -= 1

    def finish(self, seat: Seat) -> None:
        self.executing -= 1
        if seat.queue is not None:
            seat.queue.begins += max(LEAST_S, self._clock() - seat.began) - EXPECTED_S

    def dispatch(self) -> None:
        """Let those begin for whom there is room."""
        while self.waiting and self.has_room:
            queue = min((each for each in self._queues if each.waiting), key=lambda each: each.begins)
            seat = queue.waiting.popleft()
            self.waiting -= 1
            self.virtual = max(self.virtual, queue.begins)
            queue.begins += EXPECTED_S
            assert seat.waiting is not None
            if not seat.waiting.done():
                self.executing += 1
                seat.began = self._clock()
                seat.waiting.set_result(None)

    def _shortest(self, flow: str) -> Queue:
        hand = deal(flow, len(self._queues), self._hand)
        return min((self._queues[card] for card in hand), key=lambda queue: len(queue.waiting))


def shares(spec: Mapping[str, Any]) -> int:
    """A level's part of all seats."""
    if spec.get("type") == "Exempt":
        return int((spec.get("exempt") or {}).get("nominalConcurrencyShares") or 0)
    value = (spec.get("limited") or {}).get("nominalConcurrencyShares")
    return 30 if value is None else int(value)


def deal(flow: str, deck: int, hand: int) -> Sequence[int]:
    """A flow's hand of distinct cards: the same for the same flow, and seldom the same for two flows."""
    entropy = int.from_bytes(hashlib.blake2b(flow.encode(errors="surrogatepass"), digest_size=16).digest())
    cards: list[int] = []
    for dealt in range(min(hand, deck)):
        entropy, card = divmod(entropy, deck - dealt)
        for other in sorted(cards):
            if card >= other:
                card += 1
        cards.append(card)
    return cards
