"""The only source of time and sleep.

Everything that waits or reads the time takes a `Clock` through its constructor, so that a test can turn it. `VirtualClock` stands
still until it is advanced; sleepers wake in the order of their deadlines, each before the next one's time is reached.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is to be made later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time as a component sees it."""

    def now(self) -> float:
        """Seconds since the epoch (wall clock): for timestamps in objects."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back: for durations."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; at once (after one turn of the loop) if it is zero or less."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` from the event loop after `seconds`."""


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(seconds, 0), callback)


class _VirtualTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Time that moves only when `advance` is called."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._sequence = itertools.count()

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed + max(seconds, 0), next(self._sequence), timer))
        return timer

    def next_deadline(self) -> float | None:
        """Monotonic time of the next timer, or None if nothing waits."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def advance(self, seconds: float, *, settle_turns: int = 20) -> None:
        """Move time on by `seconds`, firing each timer at its own time and letting tasks run in between.

        `settle_turns` is how many turns of the event loop tasks get after each timer.
        """
        target = self._elapsed + seconds
        await self._settle(settle_turns)
        while (deadline := self.next_deadline()) is not None and deadline <= target:
            self._elapsed = max(self._elapsed, deadline)
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()
            await self._settle(settle_turns)
        self._elapsed = target
        await self._settle(settle_turns)

    @staticmethod
    async def _settle(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
