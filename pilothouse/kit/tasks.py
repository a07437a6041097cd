"""Shapes of concurrent work that components share. Every task belongs to a group that ends with its caller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from pilothouse.kit.clock import Clock

T = TypeVar("T")
R = TypeVar("R")


async def run_all(*runs: Callable[[], Awaitable[object]]) -> None:
    """Run all of `runs` until all have ended; the failure of one cancels the others and is raised."""
    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(_call(run), name=getattr(run, "__qualname__", None))


async def _call(run: Callable[[], Awaitable[object]]) -> None:
    await run()


async def each(items: Iterable[T], action: Callable[[T], Awaitable[R]], *, limit: int) -> list[tuple[T, R | Exception]]:
    """Apply `action` to all items, at most `limit` at a time; what fails is returned beside its item, in the order given."""
    gate = asyncio.Semaphore(limit)

    async def one(item: T) -> tuple[T, R | Exception]:
        async with gate:
            try:
                return item, await action(item)
            except Exception as error:
                return item, error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


async def every(
    clock: Clock,
    period_s: float,
    action: Callable[[], Awaitable[object]],
    *,
    jitter: float = 0.0,
    rng: random.Random | None = None,
) -> None:
    """Call `action` now and then `period_s` after each call has ended, without end.

    Each wait is lengthened by up to `jitter` times itself. What `action` raises ends the loop.
    """
    while True:
        await action()
        spread = jitter * rng.random() if rng is not None else 0.0
        await clock.sleep(period_s * (1 + spread))


def leaf(failure: BaseException) -> BaseException:
    """The first exception that is no group within a group of them."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
