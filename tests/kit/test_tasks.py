"""Concurrent work: failures reach the caller, limits hold, nothing outlives it."""

from __future__ import annotations

import asyncio
import random

import pytest

from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.tasks import each, every, run_all


async def test_one_failure_ends_all() -> None:
    ended = asyncio.Event()

    async def fails() -> None:
        raise ValueError("no")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ExceptionGroup):
        await run_all(fails, waits)
    assert ended.is_set()


async def test_each_keeps_to_its_limit_and_returns_failures_in_place() -> None:
    running, most = 0, 0

    async def action(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if item == 3:
            raise ValueError("three")
        return item * 2

    results = await each(range(6), action, limit=2)
    assert most == 2
    assert [item for item, _ in results] == list(range(6))
    assert isinstance(results[3][1], ValueError)
    assert results[5][1] == 10


async def test_every_waits_after_each_call() -> None:
    clock, calls = VirtualClock(), 0

    async def action() -> None:
        nonlocal calls
        calls += 1

    task = asyncio.create_task(every(clock, 10, action))
    await clock.advance(35)
    assert calls == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_backoff_grows_to_its_limit_and_starts_anew() -> None:
    backoff = Backoff(BackoffPolicy(1, 5), random.Random(1))
    assert [backoff.next() for _ in range(4)] == [1, 2, 4, 5]
    backoff.reset()
    assert backoff.next() == 1
    assert BackoffPolicy(1, 5).delay_s(100_000) == 5
