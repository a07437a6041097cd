"""The mode `batch`: events are kept and sent together later, so that no request waits. Source: apiserver `plugin/pkg/audit/buffered`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.apiserver.audit.event import Event
from pilothouse.apiserver.audit.sink import Losses, Sink
from pilothouse.kit.clock import Clock

FLUSH_S = 10.0
"""How long what is left may take to be sent when the server ends."""


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """`qps` 0 does not limit how often batches are sent."""

    buffer_size: int = 10000
    max_batch_size: int = 400
    max_batch_wait_s: float = 30.0
    qps: float = 10.0
    burst: int = 15
    is_async: bool = True
    """Whether a batch is sent while others still are."""


LOG_BATCHES = BatchConfig(max_batch_size=1, max_batch_wait_s=0.0, qps=0.0, burst=0, is_async=False)


class Buffered:
    """Events beyond the buffer's size are lost."""

    def __init__(self, sink: Sink, config: BatchConfig, losses: Losses, clock: Clock) -> None:
        self._sink = sink
        self._config = config
        self._losses = losses
        self._clock = clock
        self._events: deque[Event] = deque()
        self._has_some = asyncio.Event()
        self._is_due = asyncio.Event()
        self._tokens = float(config.burst)
        self._counted_at = clock.monotonic()

    async def process(self, events: Sequence[Event]) -> bool:
        for event in events:
            if len(self._events) >= self._config.buffer_size:
                self._losses.lost("buffered", "audit buffer queue blocked", [event])
                continue
            self._events.append(event)
        self._has_some.set()
        if len(self._events) >= self._config.max_batch_size:
            self._is_due.set()
        return True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            inner = tasks.create_task(self._sink.run())
            try:
                async with asyncio.TaskGroup() as sending:
                    while True:
                        batch = await self._next()
                        if self._config.is_async:
                            sending.create_task(self._send(batch))
                        else:
                            await self._send(batch)
            finally:
                await asyncio.shield(self._flush())
                inner.cancel()

    async def _next(self) -> list[Event]:
        await self._has_some.wait()
        if len(self._events) < self._config.max_batch_size:
            timer = self._clock.call_later(self._config.max_batch_wait_s, self._is_due.set)
            try:
                await self._is_due.wait()
            finally:
                timer.cancel()
        await self._throttle()
        return self._take()

    def _take(self) -> list[Event]:
        batch = [self._events.popleft() for _ in range(min(len(self._events), self._config.max_batch_size))]
        if len(self._events) < self._config.max_batch_size:
            self._is_due.clear()
        if not self._events:
            self._has_some.clear()
        return batch

    async def _throttle(self) -> None:
        qps, burst = self._config.qps, self._config.burst
        if not qps:
            return
        now = self._clock.monotonic()
        self._tokens = min(float(burst), self._tokens + (now - self._counted_at) * qps) - 1
        self._counted_at = now
        if self._tokens < 0:
            await self._clock.sleep(-self._tokens / qps)

    async def _send(self, batch: Sequence[Event]) -> None:
        await self._sink.process(batch)

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_S):
                while self._events:
                    await self._send(self._take())
        except TimeoutError:
            self._losses.lost("buffered", "audit backend shut down", list(self._events))
