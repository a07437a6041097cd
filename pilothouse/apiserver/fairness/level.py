"""A priority level: how many seats it has, and the queues of the requests that wait for one.

Within a level, flows are dealt to queues by shuffle sharding, and queues take turns by start-time fair queueing: each queue has the
virtual time at which its next request begins, and the queue with the earliest goes first. A request is charged what requests take on
average before it runs, and the difference when it is done, for each of its seats. All of it is synchronous; waiting is a future.

Source: KEP-1040; Goyal, Vin, Chen, "Start-time Fair Queuing" (1996).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.apiserver.fairness.borrowing import Demand, Limits, Meter, round_half_up
from pilothouse.apiserver.fairness.drops import Drops
from pilothouse.apiserver.fairness.work import Work
from pilothouse.apiserver.route import RequestInfo

EXPECTED_S = 0.003
"""What a request is charged until it is known how long it took."""
LEAST_S = 0.0005
"""What every request is charged, so that queues of the quickest requests take turns too."""
_MAX_SEATS_SHARE = 0.15


class Refused(Exception):
    """The level takes no more requests now; the message is the reason, as metrics name it."""


class Group:
    """The requests of one FlowSchema in one level: what answers and metrics say of them."""

    __slots__ = (
        "dispatched",
        "executing",
        "headers",
        "inqueue",
        "inqueue_seats",
        "level",
        "more_seats",
        "name",
        "rejected",
        "seconds",
    )

    def __init__(self, name: str, level: Level, headers: Mapping[str, str]) -> None:
        self.name = name
        self.level = level
        self.headers = headers
        self.executing = 0
        self.more_seats = 0
        """Seats of requests that are worked on, beyond one for each."""
        self.dispatched = 0
        self.inqueue = 0
        self.inqueue_seats = 0
        self.seconds = 0.0
        """How long its requests took together."""
        self.rejected: dict[str, int] = {}


class Queue:
    """The requests of some flows, in the order of their arrival."""

    __slots__ = ("begins", "executing", "seats", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Seat] = deque()
        self.begins = 0.0
        """The virtual time at which the next request begins."""
        self.executing = 0
        self.seats = 0


class Flow:
    """A flow of a group. It is also the seat of every request of the flow that takes one seat and need not wait."""

    __slots__ = ("distinguisher", "group", "level")
    waiting: asyncio.Future[None] | None = None

    def __init__(self, group: Group, distinguisher: str) -> None:
        self.group = group
        self.level = group.level
        self.distinguisher = distinguisher


class Seat:
    """What one request takes up of a level: it waits for it, or takes more than one seat."""

    __slots__ = ("arrived_at", "began", "flow", "group", "info", "level", "queue", "user_name", "waiting", "work")

    def __init__(self, flow: Flow, work: Work, info: RequestInfo, user_name: str, arrived_at: float) -> None:
        self.flow = flow
        self.group = flow.group
        self.level = flow.level
        self.work = work
        self.info = info
        self.user_name = user_name
        self.arrived_at = arrived_at
        self.waiting: asyncio.Future[None] | None = None
        self.queue: Queue | None = None
        self.began = 0.0


class Level:
    """`clock` gives monotonic time."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.limits = Limits(0, 0, 0)
        self.current = 0
        """How many seats the level has now, with what it borrows and without what it lends."""
        self.max_seats = 0
        """The most that one request may take; 0 if the level does not say."""
        self.is_quiescing = False
        """Whether the level is configured no more and only waits for its last requests."""
        self.executing = 0
        self.seats = 0
        """Seats in use."""
        self.peak = 0
        """The highest demand of this period."""
        self.waiting = 0
        self.waiting_seats = 0
        self.virtual = 0.0
        self.demand = Demand()
        self.meter = Meter(clock())
        self.drops = Drops()
        self.timed_out = self.cancelled = 0
        self.queues: list[Queue] = []
        self.seated: dict[Seat, None] = {}
        self._clock = clock
        self._hand = 0
        self._limit = 0

    @property
    def is_exempt(self) -> bool:
        return self.limits.is_exempt

    @property
    def is_idle(self) -> bool:
        return not self.executing and not self.waiting

    def configure(self, spec: Mapping[str, Any], total: int, all_shares: int) -> None:
        """Take over a PriorityLevelConfiguration's spec; who waits goes on waiting."""
        is_exempt = spec.get("type") == "Exempt"
        settings = spec.get("exempt" if is_exempt else "limited") or {}
        nominal = -(-total * shares(spec) // max(1, all_shares))
        lendable = round_half_up(nominal * (settings.get("lendablePercent") or 0) / 100)
        percent = settings.get("borrowingLimitPercent")
        borrowable = total if percent is None else round_half_up(nominal * percent / 100)
        is_new = self.limits == Limits(0, 0, 0)
        self.limits = Limits(nominal, nominal - lendable, nominal + borrowable, is_exempt)
        if is_new:
            self.current = nominal - lendable // 2
        response = settings.get("limitResponse") or {}
        queuing = (response.get("queuing") or {}) if response.get("type") == "Queue" else {}
        count = queuing.get("queues", 64) if response.get("type") == "Queue" else 0
        self._hand = queuing.get("handSize", 8)
        self._limit = queuing.get("queueLengthLimit", 50)
        if count:
            self.max_seats = max(
                1, min(-(-int(nominal * 100 * _MAX_SEATS_SHARE) // 100), nominal // max(1, self._hand))
            )
        self._resize(count)

    def _resize(self, count: int) -> None:
        for queue in self.queues[count:]:
            # What waits in a queue that is no more joins another.
            if self.queues[:count]:
                self.queues[0].waiting.extend(queue.waiting)
                for seat in queue.waiting:
                    seat.queue = self.queues[0]
        if count or not self.waiting:
            self.queues = self.queues[:count] + [Queue() for _ in range(count - len(self.queues))]

    def has_room(self, seats: int) -> bool:
        """Whether `seats` more can be taken. A request that is larger than the level runs alone."""
        if seats > self.current:
            return not self.executing
        return self.seats + seats <= self.current

    # One seat, at once: the way of nearly all requests

    def sit(self, flow: Flow) -> bool:
        """Take one seat if there is one and nobody waits."""
        seats = self.seats + 1
        if not self.limits.is_exempt and (self.waiting or (seats > self.current and self.executing)):
            return False
        self.seats = seats
        self.executing += 1
        if seats + self.waiting_seats > self.peak:
            self.peak = seats + self.waiting_seats
        group = flow.group
        group.executing += 1
        group.dispatched += 1
        return True

    def stand(self, flow: Flow) -> None:
        """Give that seat back."""
        self.seats -= 1
        self.executing -= 1
        flow.group.executing -= 1

    # Any number of seats, perhaps later

    def take(self, seat: Seat) -> None:
        """Take the seats, or queue for them. Raises Refused."""
        if self.is_exempt or (not self.waiting and self.has_room(seat.work.max_seats)):
            self._seat(seat)
            return
        group = seat.group
        if not self.queues:
            raise self._refused(group, "concurrency-limit")
        queue = self._shortest(f"{group.name}/{seat.flow.distinguisher}")
        if len(queue.waiting) >= self._limit:
            raise self._refused(group, "queue-full")
        if not queue.waiting:
            queue.begins = max(queue.begins, self.virtual)
        seat.queue = queue
        seat.waiting = asyncio.get_running_loop().create_future()
        queue.waiting.append(seat)
        self.waiting += 1
        self.waiting_seats += seat.work.max_seats
        group.inqueue += 1
        group.inqueue_seats += seat.work.max_seats
        self._note()

    def leave(self, seat: Seat, reason: str) -> None:
        """Stop waiting, for a reason as metrics name it."""
        assert seat.queue is not None
        try:
            seat.queue.waiting.remove(seat)
        except ValueError:
            return
        self._unqueue(seat)
        self._note()
        self._refused(seat.group, reason)
        if reason == "time-out":
            self.timed_out += 1
        else:
            self.cancelled += 1

    def finish(self, seat: Seat) -> None:
        """The request is done, with all that follows it."""
        size = seat.work.max_seats
        self.executing -= 1
        self.seats -= size
        seat.group.executing -= 1
        seat.group.more_seats -= size - 1
        self.seated.pop(seat, None)
        if seat.queue is not None:
            took_s = max(LEAST_S, self._clock() - seat.began) - EXPECTED_S
            seat.queue.begins += took_s * size
            seat.queue.executing -= 1
            seat.queue.seats -= size
        self._note()

    def dispatch(self) -> None:
        """Let those begin for whom there is room."""
        while self.waiting:
            queue = min((each for each in self.queues if each.waiting), key=lambda each: each.begins)
            seat = queue.waiting[0]
            if not self.has_room(seat.work.max_seats):
                return
            queue.waiting.popleft()
            self._unqueue(seat)
            assert seat.waiting is not None
            if seat.waiting.done():
                continue
            self.virtual = max(self.virtual, queue.begins)
            queue.begins += EXPECTED_S * seat.work.max_seats
            queue.executing += 1
            queue.seats += seat.work.max_seats
            self._seat(seat)
            seat.waiting.set_result(None)

    def note(self) -> None:
        """Measure the demand: requests come and go that take their time."""
        self._note()

    def end_period(self) -> None:
        """Update the demand with the period that ends now."""
        average, deviation = self.meter.read(self._clock())
        self.demand.update(self.peak, average, deviation)
        self.peak = self.seats + self.waiting_seats

    def _seat(self, seat: Seat) -> None:
        size = seat.work.max_seats
        self.executing += 1
        self.seats += size
        seat.began = self._clock()
        seat.group.executing += 1
        seat.group.dispatched += 1
        seat.group.more_seats += size - 1
        self.seated[seat] = None
        self._note()

    def _unqueue(self, seat: Seat) -> None:
        size = seat.work.max_seats
        self.waiting -= 1
        self.waiting_seats -= size
        seat.group.inqueue -= 1
        seat.group.inqueue_seats -= size

    def _note(self) -> None:
        demand = self.seats + self.waiting_seats
        if demand > self.peak:
            self.peak = demand
        self.meter.note(demand, self._clock())

    @staticmethod
    def _refused(group: Group, reason: str) -> Refused:
        group.rejected[reason] = group.rejected.get(reason, 0) + 1
        return Refused(reason)

    def _shortest(self, flow: str) -> Queue:
        hand = deal(flow, len(self.queues), self._hand)
        return min(
            (self.queues[card] for card in hand),
            key=lambda queue: sum(seat.work.max_seats for seat in queue.waiting) + queue.seats,
        )


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
