"""The work queue: keys neither lost nor worked on twice at once, whatever happens to workers."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.workqueue import TokenBucket, WorkQueue


async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await asyncio.wait_for(second, 1) == "a"


async def test_a_worker_cancelled_while_nothing_is_there_leaves_no_trace() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    queue.add("a")
    assert await queue.get() == "a"


async def test_a_key_added_while_it_is_worked_on_comes_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1


async def test_of_several_waits_the_shortest_counts() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 1)
    queue.add_after("a", 5)
    await clock.advance(1)
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    await clock.advance(20)
    assert len(queue) == 0


async def test_failures_wait_longer_and_longer_until_forgotten() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    waits = []
    for _ in range(3):
        queue.add_rate_limited("a")
        start = clock.monotonic()
        while not len(queue):
            await clock.advance(0.001)
        waits.append(round(clock.monotonic() - start, 3))
        await queue.get()
        queue.done("a")
    assert waits == [0.005, 0.01, 0.02]
    queue.forget("a")
    assert queue.failures("a") == 0


async def test_all_failures_together_stay_within_the_budget() -> None:
    clock = VirtualClock()
    queue: WorkQueue[int] = WorkQueue(clock, per_second=10, burst=100)
    for key in range(200):
        queue.add_rate_limited(key)
    await clock.advance(1)
    assert 100 <= len(queue) <= 111
    queue.close()
    await clock.advance(100)
    assert len(queue) <= 111


def test_a_bucket_lends_against_the_future() -> None:
    bucket = TokenBucket(VirtualClock(), per_second=2, burst=1)
    assert bucket.reserve() == 0
    assert bucket.reserve() == 0.5
    assert bucket.reserve() == 1.0
    assert not bucket.try_take()


@given(st.lists(st.tuples(st.sampled_from("add done"), st.integers(0, 3)), max_size=60))
def test_every_added_key_is_handed_out_after_it_was_added(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        queue: WorkQueue[int] = WorkQueue(VirtualClock())
        owed: set[int] = set()
        working: set[int] = set()
        for step, key in steps:
            if step == "add":
                queue.add(key)
                owed.add(key)
            elif key in working:
                queue.done(key)
                working.discard(key)
            while len(queue):
                taken = await queue.get()
                assert taken not in working
                working.add(taken)
                owed.discard(taken)
        for key in list(working):
            queue.done(key)
        while len(queue):
            owed.discard(await queue.get())
        assert not owed

    asyncio.run(scenario())
