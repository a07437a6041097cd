"""Keeps the workers informed of the runtime: by its events at once, by a relist of everything as the safety net.

While events flow the relist is seldom; while they do not (the runtime restarts, or has none) it comes every second.
"""

from __future__ import annotations

import asyncio
import random

from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.runtime import Runtime
from pilothouse.kubelet.workers import Workers

log = get_logger("pilothouse.kubelet.lifecycle")

_RETRY = BackoffPolicy(0.1, 5.0, jitter=0.2)
_POLL_S = 1.0


class RuntimeWatch:
    """Watches one runtime for the workers."""

    def __init__(self, runtime: Runtime, workers: Workers, relist_s: float, clock: Clock, rng: random.Random) -> None:
        self._runtime = runtime
        self._workers = workers
        self._relist_s = relist_s
        self._clock = clock
        self._rng = rng
        self._events_flow = False
        self.relisted_at: float | None = None
        """When the runtime has last told everything, by the clock's monotonic time."""

    async def run(self) -> None:
        """Watch until cancelled. The pods of the API must be known before this is called."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events())
            group.create_task(self._relist())

    async def _follow_events(self) -> None:
        backoff = Backoff(_RETRY, self._rng)
        while True:
            try:
                async for event in self._runtime.events():
                    if not self._events_flow:
                        self._events_flow = True
                        backoff.reset()
                    self._workers.on_event(event)
                problem = "the stream ended"
            except RuntimeFailure as error:
                problem = str(error)
            if self._events_flow:
                log.warning("runtime events interrupted", error=problem)
                self._events_flow = False
            await self._clock.sleep(backoff.next())
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Have the workers look for what they may have missed, once the runtime answers again."""
        try:
            await self._runtime.version()
        except RuntimeFailure:
            return
        self._workers.notice_all()

    async def _relist(self) -> None:
        while True:
            try:
                self._workers.on_relist(await self._runtime.pods())
                self.relisted_at = self._clock.monotonic()
            except RuntimeFailure as error:
                log.warning("relist failed", error=str(error))
            await self._clock.sleep(self._relist_s if self._events_flow else min(_POLL_S, self._relist_s))
