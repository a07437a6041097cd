"""A queue of keys for level-triggered work.

A key waits at most once however often it is added, and is never handed to two workers at a time: one that is added while it is
being worked on is handed out again after `done`. Later additions (`add_after`) and failures (`add_rate_limited`) wait on the clock.
The model and its limits (5 ms doubling to 1000 s for a key, 10 a second with a burst of 100 over all keys) are those of client-go's
`util/workqueue`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from pilothouse.kit.backoff import BackoffPolicy
from pilothouse.kit.clock import Clock, Timer

K = TypeVar("K", bound=Hashable)

DEFAULT_POLICY = BackoffPolicy(base_s=0.005, max_s=1000.0)


class TokenBucket:
    """A budget of `burst` that refills by `per_second`, borrowed against the future."""

    def __init__(self, clock: Clock, *, per_second: float, burst: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._updated = clock.monotonic()

    def reserve(self) -> float:
        """Take a token and return the seconds until it is there; zero if it is there now."""
        self._refill()
        self._tokens -= 1
        return 0.0 if self._tokens >= 0 else -self._tokens / self._per_second

    def try_take(self) -> bool:
        """Take a token if one is there."""
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._per_second)
        self._updated = now


class WorkQueue(Generic[K]):
    """Keys to work on, in the order in which they were added."""

    def __init__(
        self, clock: Clock, *, policy: BackoffPolicy = DEFAULT_POLICY, per_second: float = 10.0, burst: int = 100
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._bucket = TokenBucket(clock, per_second=per_second, burst=burst)
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._delayed: dict[K, tuple[float, Timer]] = {}
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """How many keys are ready."""
        return len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready and nothing is being worked on; keys may still wait on the clock."""
        return not self._ready and not self._processing

    def add(self, key: K) -> None:
        """Make `key` ready, unless it is already."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Make `key` ready after `seconds`; of several waits for one key the shortest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if (waiting := self._delayed.get(key)) is not None:
            if waiting[0] <= due:
                return
            waiting[1].cancel()
        self._delayed[key] = (due, self._clock.call_later(seconds, lambda: self._wake(key)))

    def add_rate_limited(self, key: K) -> None:
        """Make `key` ready again after a failure, the later the more often it failed."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        self.add_after(key, max(self._policy.delay_s(failures), self._bucket.reserve()))

    def forget(self, key: K) -> None:
        """Start counting the failures of `key` anew."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often `key` failed since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; `done` must be called with it afterwards."""
        while not self._ready:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    # The wake-up was meant for a worker; this one is leaving, so the next must have it.
                    self._wake_worker()
                else:
                    self._waiters.remove(waiter)
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on `key` has ended, well or badly."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def close(self) -> None:
        """Let go of all timers."""
        for _, timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()

    def _wake(self, key: K) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._wake_worker()

    def _wake_worker(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
