"""Group commit over a log whose writes the test lets through or fails, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import ABSENT, Change, Revision, StoreUnavailable, WriteConflict
from pilothouse.store.ledger import Row
from pilothouse.store.local import BATCH_REQUESTS, LocalStore
from pilothouse.store.log import Done
from pilothouse.store.memory import MemoryLog
from tests.store.suite import PODS, keys, state

KEY = PODS + "x/a"


class HeldLog(MemoryLog):
    """A log that writes when it is told to."""

    is_instant = False

    def __init__(self) -> None:
        super().__init__()
        self.held: tuple[Sequence[Row], Sequence[Revision], Revision, Done] | None = None
        self.batches: list[int] = []
        self._begun = asyncio.Event()

    def write(self, rows: Sequence[Row], garbage: Sequence[Revision], compacted: Revision, done: Done) -> None:
        assert self.held is None, "one write at a time"
        self.held = (rows, garbage, compacted, done)
        self._begun.set()

    async def let(self, error: StoreUnavailable | None = None) -> None:
        """Let the write that waits, or the next one, succeed or fail."""
        await self._begun.wait()
        assert self.held is not None
        rows, garbage, compacted, done = self.held
        self.held = None
        self._begun.clear()
        self.batches.append(len(rows))
        if error is None:
            super().write(rows, garbage, compacted, done)
        else:
            done(error)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def log() -> HeldLog:
    return HeldLog()


@pytest.fixture
async def store(log: HeldLog, clock: VirtualClock) -> AsyncIterator[LocalStore]:
    store = LocalStore(log, clock)
    yield store
    assert log.held is None
    await store.close()


async def begun(*calls: asyncio.Task[Revision]) -> None:
    """Let the calls come as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)


def call(coroutine: object) -> asyncio.Task[Revision]:
    return asyncio.ensure_future(coroutine)  # type: ignore[call-overload, no-any-return]


async def test_a_failed_batch_fails_all_its_requests_and_changes_nothing(store: LocalStore, log: HeldLog) -> None:
    told: list[Change] = []
    feed = await store.follow(PODS, told.extend, after=Revision(1))
    calls = [call(store.put(f"{PODS}x/{number}", b"")) for number in range(3)]
    refused = call(store.put(PODS + "x/0", b"", expect=ABSENT))
    await begun(*calls, refused)
    await log.let(StoreUnavailable("the disk is on fire"))
    for failed in (*calls, refused):
        with pytest.raises(StoreUnavailable, match="the disk is on fire"):
            await failed
    assert (await keys(store, PODS), await store.revision(), told, feed.revision) == ([], 1, [], 1)
    again = call(store.put(KEY, b"1", expect=ABSENT))
    await log.let()
    assert await again == 2
    assert [change.key for change in told] == [KEY]


async def test_nothing_is_seen_before_it_is_durable(store: LocalStore, log: HeldLog) -> None:
    told: list[Change] = []
    await store.follow(PODS, told.extend, after=Revision(1))
    first = call(store.put(KEY, b"1", expect=ABSENT))
    await begun(first)
    loser = call(store.put(KEY, b"2", expect=ABSENT))
    await begun(first, loser)
    assert (told, await store.get(KEY), await store.revision()) == ([], None, 1)
    await log.let()
    assert await first == 2
    with pytest.raises(WriteConflict):
        await loser
    assert await state(store, PODS) == {KEY: (b"1", 2)}


async def test_requests_that_come_during_a_write_share_the_next(store: LocalStore, log: HeldLog) -> None:
    first = call(store.put(KEY, b""))
    await begun(first)
    others = [call(store.put(f"{PODS}x/{number}", b"")) for number in range(20)]
    await begun(*others)
    await log.let()
    await log.let()
    assert await asyncio.gather(first, *others) == list(range(2, 23))
    assert log.batches == [1, 20]


async def test_batches_are_bounded(store: LocalStore, log: HeldLog) -> None:
    calls = [call(store.put(f"{PODS}x/{number}", b"")) for number in range(BATCH_REQUESTS + 1)]
    calls += [call(store.put(f"{PODS}y/{number}", b"x" * 3_000_000)) for number in range(2)]
    for _ in range(3):
        await log.let()
    assert await calls[-1] == await store.revision()
    assert log.batches == [BATCH_REQUESTS, 2, 1]


async def test_cancelled_requests_are_not_written_if_they_have_not_begun(store: LocalStore, log: HeldLog) -> None:
    first, second = call(store.put(KEY, b"1")), None
    await begun(first)
    second = call(store.put(KEY, b"2"))
    await begun(second)
    first.cancel()
    second.cancel()
    await log.let()
    assert await state(store, PODS) == {KEY: (b"1", 2)}


async def test_refusals_alone_write_nothing(store: LocalStore, log: HeldLog) -> None:
    with pytest.raises(WriteConflict):
        await store.delete(KEY)
    assert log.batches == []


async def test_closing_waits_for_what_was_accepted(store: LocalStore, log: HeldLog) -> None:
    first = call(store.put(KEY, b"1"))
    await begun(first)
    second = call(store.delete(KEY, expect=Revision(9)))
    await begun(second)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="the store is closed"):
        await store.put(KEY, b"2")
    assert not closing.done()
    await log.let()
    await closing
    assert await first == 2
    with pytest.raises(WriteConflict):
        await second


async def test_expired_keys_that_cannot_be_deleted_are_tried_again(
    store: LocalStore, log: HeldLog, clock: VirtualClock
) -> None:
    written = call(store.put(KEY, b"1", ttl_s=5))
    await log.let()
    await written
    await clock.advance(6)
    await log.let(StoreUnavailable("full"))
    assert await keys(store, PODS) == [KEY]
    await clock.advance(11)
    await log.let()
    assert await keys(store, PODS) == []


async def test_old_rows_are_deleted_when_nobody_writes(store: LocalStore, log: HeldLog, clock: VirtualClock) -> None:
    for value in (b"1", b"2"):
        written = call(store.put(KEY, value))
        await log.let()
        await written
    await clock.advance(400)
    assert log.held is not None
    rows, garbage, compacted, _ = log.held
    assert (rows, garbage, compacted) == ([], [2], 3)
    await log.let()
    assert await state(store, PODS) == {KEY: (b"2", 3)}


async def test_a_value_that_was_compacted_while_it_was_read_is_read_anew(
    store: LocalStore, log: HeldLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = call(store.put(KEY, b"1"))
    await log.let()
    await written
    read = log.read

    async def read_late(revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        monkeypatch.setattr(log, "read", read)
        written = call(store.put(KEY, b"2"))
        await log.let()
        compacted = asyncio.ensure_future(store.compact(await written))
        await log.let()
        await compacted
        return await read(revisions)

    monkeypatch.setattr(log, "read", read_late)
    assert await state(store, PODS) == {KEY: (b"2", 3)}


async def test_a_missing_value_is_reported_rather_than_waited_for(store: LocalStore, log: HeldLog) -> None:
    written = call(store.put(KEY, b"1"))
    await log.let()
    log._values.pop(await written)
    for reading in (store.get(KEY), store.list(PODS)):
        with pytest.raises(StoreUnavailable, match=f"the value of {KEY} is missing"):
            await reading


async def test_a_follower_that_fails_disturbs_nobody(store: LocalStore, log: HeldLog) -> None:
    told: list[Change] = []

    def fail(changes: Sequence[Change]) -> None:
        raise RuntimeError("follower")

    await store.follow(PODS, fail, after=Revision(1))
    await store.follow("/registry/", told.extend, after=Revision(1))
    written = call(store.put(KEY, b"1"))
    await log.let()
    assert await written == 2
    assert len(told) == 1
