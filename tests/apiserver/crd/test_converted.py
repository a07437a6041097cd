"""What a version sees whose objects a webhook converts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, cast

from pilothouse.apiserver.crd.converted import ConvertedStore
from pilothouse.apiserver.crd.translation import Converting
from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import Change
from pilothouse.store.memory import MemoryStore


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Slow:
    """Converts when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_go_on = asyncio.Event()

    async def wires(self, values: Sequence[bytes]) -> Sequence[bytes]:
        self.asked += 1
        await self.may_go_on.wait()
        return [value.upper() for value in values]


async def test_who_reads_while_the_last_change_is_converted_waits_for_no_more_than_that() -> None:
    store, slow = MemoryStore(VirtualClock()), Slow()
    delivered: list[Change] = []
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.ensure_future(work))

    view = ConvertedStore(store, cast(Converting, slow), spawn)
    feed = await view.follow("/a/", delivered.extend, after=await store.revision())
    await store.put("/a/b/c", b"x")
    await settle()
    assert slow.asked == 1
    reading = asyncio.ensure_future(feed.fresh())
    await settle()
    assert not reading.done()
    slow.may_go_on.set()
    await asyncio.wait_for(reading, 5)
    assert [change.value for change in delivered] == [b"X"]
    feed.close()
    await asyncio.gather(*tasks)
