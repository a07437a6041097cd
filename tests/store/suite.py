"""What every store does. A backend's test module makes a subclass of `StoreSuite` with fixtures `clock` and `store`.

Stores in this process pass `LocalSuite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import (
    ABSENT,
    Change,
    Compacted,
    FutureRevision,
    Revision,
    Store,
    StoreUnavailable,
    WriteConflict,
)

PODS = "/registry/core/pods/"
NODES = "/registry/core/nodes/"
NAMES = ("a", "b", "c", "d")

Operation = tuple[str, str, bytes]
"""`put` or `delete`, a key, a value."""

operations = st.lists(
    st.tuples(
        st.sampled_from(("put", "put", "delete")),
        st.sampled_from([prefix + name for prefix in (PODS + "x/", PODS + "y/", NODES) for name in NAMES]),
        st.binary(max_size=4),
    ),
    max_size=30,
)


async def keys(store: Store, prefix: str, **options: object) -> list[str]:
    page = await store.list(prefix, **options)  # type: ignore[arg-type]
    return [entry.key for entry in page.entries]


async def state(store: Store, prefix: str, at: Revision | None = None) -> dict[str, tuple[bytes, Revision]]:
    page = await store.list(prefix, at=at)
    assert page.remaining == 0
    return {entry.key: (entry.value, entry.mod_revision) for entry in page.entries}


async def perform(store: Store, operation: Operation) -> None:
    verb, key, value = operation
    if verb == "put":
        await store.put(key, value)
    elif await store.get(key) is not None:
        await store.delete(key)


async def take(watch: AsyncIterator[Sequence[Change]], count: int) -> list[Change]:
    """The next `count` changes."""
    taken: list[Change] = []
    while len(taken) < count:
        taken += await anext(watch)
    return taken


async def changes_until(store: Store, prefix: str, after: Revision, until: Revision) -> list[Change]:
    """What a watch after `after` brings up to the last write under `prefix` at or before `until`."""
    await store.put("/registry/core/ends/end", b"")
    found: list[Change] = []
    async with aclosing(store.watch("/registry/", after=after)) as watch:
        async for batch in watch:
            found += batch
            if found[-1].revision > until:
                return [change for change in found if change.key.startswith(prefix) and change.revision <= until]
    raise AssertionError("a watch never ends")


class StoreSuite:
    """The contract of `pilothouse.store.base.Store`."""

    # Refusals

    async def test_create_refuses_a_key_that_exists(self, store: Store) -> None:
        first = await store.put(PODS + "x/a", b"1", expect=ABSENT)
        with pytest.raises(WriteConflict) as refused:
            await store.put(PODS + "x/a", b"2", expect=ABSENT)
        assert (refused.value.key, refused.value.current) == (PODS + "x/a", first)
        entry = await store.get(PODS + "x/a")
        assert entry is not None
        assert (entry.value, entry.mod_revision) == (b"1", first)

    async def test_update_refuses_a_stale_revision(self, store: Store) -> None:
        first = await store.put(PODS + "x/a", b"1")
        second = await store.put(PODS + "x/a", b"2", expect=first)
        with pytest.raises(WriteConflict) as refused:
            await store.put(PODS + "x/a", b"3", expect=first)
        assert refused.value.current == second

    async def test_update_refuses_a_key_that_is_gone(self, store: Store) -> None:
        first = await store.put(PODS + "x/a", b"1")
        await store.delete(PODS + "x/a", expect=first)
        with pytest.raises(WriteConflict) as refused:
            await store.put(PODS + "x/a", b"2", expect=first)
        assert refused.value.current == ABSENT

    async def test_delete_refuses_a_missing_key_and_a_stale_revision(self, store: Store) -> None:
        with pytest.raises(WriteConflict):
            await store.delete(PODS + "x/a")
        first = await store.put(PODS + "x/a", b"1")
        second = await store.put(PODS + "x/a", b"2")
        with pytest.raises(WriteConflict) as refused:
            await store.delete(PODS + "x/a", expect=first)
        assert refused.value.current == second

    async def test_future_revisions_are_refused(self, store: Store) -> None:
        revision = await store.put(PODS + "x/a", b"1")
        future = Revision(revision + 1)
        with pytest.raises(FutureRevision):
            await store.list(PODS, at=future)
        with pytest.raises(FutureRevision):
            await store.follow(PODS, lambda changes: None, after=future)
        with pytest.raises(FutureRevision):
            await anext(store.watch(PODS, after=future))

    async def test_compacted_revisions_are_refused(self, store: Store) -> None:
        first = await store.put(PODS + "x/a", b"1")
        second = await store.put(PODS + "x/a", b"2")
        third = await store.put(PODS + "x/a", b"3")
        await store.compact(second)
        for refused in (store.list(PODS, at=first), store.follow(PODS, lambda changes: None, after=first)):
            with pytest.raises(Compacted) as error:
                await refused
            assert error.value.oldest == second
        with pytest.raises(Compacted):
            await anext(store.watch(PODS, after=first))
        assert await state(store, PODS, second) == {PODS + "x/a": (b"2", second)}
        assert await state(store, PODS) == {PODS + "x/a": (b"3", third)}
        assert [change.revision for change in await changes_until(store, PODS, second, third)] == [third]

    async def test_a_closed_store_refuses(self, store: Store) -> None:
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.put(PODS + "x/a", b"1")

    # Writing

    async def test_only_one_of_many_concurrent_creations_wins(self, store: Store) -> None:
        answers = await asyncio.gather(
            *(store.put(PODS + "x/a", b"%d" % number, expect=ABSENT) for number in range(20)), return_exceptions=True
        )
        won = [answer for answer in answers if isinstance(answer, int)]
        assert len(won) == 1
        assert all(isinstance(answer, WriteConflict) for answer in answers if not isinstance(answer, int))

    async def test_concurrent_writes_each_get_a_revision_of_their_own(self, store: Store) -> None:
        before = await store.revision()
        revisions = await asyncio.gather(*(store.put(f"{PODS}x/{number}", b"") for number in range(1000)))
        assert sorted(revisions) == list(range(before + 1, before + 1001))
        assert await store.revision() == before + 1000
        assert {entry.key[len(PODS + "x/") :]: entry.mod_revision for entry in (await store.list(PODS)).entries} == {
            str(number): revision for number, revision in enumerate(revisions)
        }

    async def test_cancelled_callers_do_not_disturb_the_others(self, store: Store) -> None:
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(store.put(f"{PODS}x/{number}", b"")) for number in range(10)]  # type: ignore[arg-type]
            await asyncio.sleep(0)
            for writer in writers[::2]:
                writer.cancel()
        assert all(not writer.cancelled() for writer in writers[1::2])
        written = {int(key.rpartition("/")[2]) for key in await keys(store, PODS)}
        assert written >= {1, 3, 5, 7, 9}
        await store.put(PODS + "x/after", b"")

    async def test_large_and_empty_values(self, store: Store) -> None:
        for value in (b"", b"\x00" * 10, b"x" * 3_000_000):
            await store.put(PODS + "x/a", value)
            entry = await store.get(PODS + "x/a")
            assert entry is not None
            assert entry.value == value

    # Listing

    async def test_list_is_in_key_order_and_keeps_to_its_prefix(self, store: Store) -> None:
        for key in ("/registry/core/podsx/q", PODS + "b/1", PODS + "a/2", PODS + "a/1", PODS + "a-b/1", NODES + "n"):
            await store.put(key, b"")
        assert await keys(store, PODS) == [PODS + "a-b/1", PODS + "a/1", PODS + "a/2", PODS + "b/1"]
        assert await keys(store, PODS + "a/") == [PODS + "a/1", PODS + "a/2"]
        assert await keys(store, "/registry/core/services/") == []

    async def test_pages_of_one_revision_do_not_see_later_writes(self, store: Store) -> None:
        for name in NAMES:
            await store.put(PODS + "x/" + name, b"old")
        first = await store.list(PODS, limit=3)
        assert [entry.key[-1] for entry in first.entries] == ["a", "b", "c"]
        assert first.remaining == 1
        await store.delete(PODS + "x/d")
        await store.put(PODS + "x/bb", b"new")
        await store.put(PODS + "x/e", b"new")
        second = await store.list(PODS, after=first.entries[1].key, limit=1, at=first.revision)
        assert ([entry.key[-1] for entry in second.entries], second.remaining) == (["c"], 1)
        third = await store.list(PODS, after=second.entries[-1].key, at=first.revision)
        assert ([(entry.key[-1], entry.value) for entry in third.entries], third.remaining) == ([("d", b"old")], 0)
        assert third.revision == first.revision

    # Following

    async def test_a_feed_has_delivered_before_the_writer_is_answered(self, store: Store) -> None:
        delivered: list[Change] = []
        feed = await store.follow(PODS, delivered.extend, after=await store.revision())
        revision = await store.put(PODS + "x/a", b"1", expect=ABSENT)
        await feed.fresh()
        assert delivered == [Change(PODS + "x/a", revision, b"1", ABSENT)]
        assert feed.revision == revision
        deletion = await store.delete(PODS + "x/a")
        await feed.fresh()
        assert delivered[1:] == [Change(PODS + "x/a", deletion, None, revision)]
        await store.put(NODES + "n", b"")
        await feed.fresh()
        assert len(delivered) == 2
        assert feed.revision == await store.revision()
        feed.close()
        feed.close()
        await store.put(PODS + "x/a", b"2")
        assert len(delivered) == 2

    async def test_a_feed_begins_with_the_past_without_gap_or_repetition(self, store: Store) -> None:
        start = await store.revision()
        delivered: list[Change] = []

        async def write(number: int) -> None:
            for turn in range(20):
                await store.put(f"{PODS}x/{number}", b"%d" % turn)

        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(write(number))
            await store.put(PODS + "x/first", b"")
            feed = await store.follow(PODS, delivered.extend, after=start)
        await feed.fresh()
        revisions = [change.revision for change in delivered]
        assert revisions == list(range(start + 1, start + 102))

    async def test_a_slow_reader_of_a_watch_misses_nothing(self, store: Store) -> None:
        start = await store.revision()
        async with aclosing(store.watch(PODS, after=start)) as watch:
            await store.put(PODS + "x/a", b"")
            await take(watch, 1)
            for _ in range(6):
                await asyncio.gather(*(store.put(PODS + "x/a", b"") for _ in range(1000)))
            changes = await take(watch, 6000)
        assert [change.revision for change in changes] == list(range(start + 2, start + 6002))

    # A watch replayed equals a list

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(operations=operations, data=st.data())
    def test_a_watch_replayed_from_any_revision_equals_a_list(
        self, run_with_store: object, operations: list[Operation], data: st.DataObject
    ) -> None:
        async def replay(store: Store) -> None:
            revisions = [await store.revision()]
            for operation in operations:
                await perform(store, operation)
                revisions.append(await store.revision())
            after = data.draw(st.sampled_from(revisions))
            until = data.draw(st.sampled_from([revision for revision in revisions if revision >= after]))
            replayed = await state(store, PODS, after)
            expected = await state(store, PODS, until)
            previous = after
            for change in await changes_until(store, PODS, after, until):
                assert change.revision > previous
                previous = change.revision
                assert replayed.get(change.key, (b"", ABSENT))[1] == change.previous
                if change.value is None:
                    del replayed[change.key]
                else:
                    replayed[change.key] = (change.value, change.revision)
            assert replayed == expected

        run_with_store(replay)  # type: ignore[operator]


class LocalSuite(StoreSuite):
    """What a store in this process promises besides: the order of calls, its clock, bounded history."""

    async def test_concurrent_writes_get_revisions_in_the_order_of_their_calls(self, store: Store) -> None:
        before = await store.revision()
        revisions = await asyncio.gather(*(store.put(f"{PODS}x/{number}", b"") for number in range(1000)))
        assert list(revisions) == list(range(before + 1, before + 1001))
        assert await store.revision() == revisions[-1]

    # Expiry and history

    async def test_leases(self, store: Store, clock: VirtualClock) -> None:
        short = await store.put(PODS + "x/short", b"1", ttl_s=10)
        await store.put(PODS + "x/kept", b"1", ttl_s=5)
        await store.put(PODS + "x/kept", b"2")
        await store.put(PODS + "x/renewed", b"1", ttl_s=5)
        renewed = await store.put(PODS + "x/renewed", b"2", ttl_s=60)
        revision = await store.put(PODS + "x/gone", b"1", ttl_s=7)
        await store.delete(PODS + "x/gone")
        async with aclosing(store.watch(PODS, after=await store.revision())) as watch:
            await clock.advance(9)
            assert await keys(store, PODS) == [PODS + "x/kept", PODS + "x/renewed", PODS + "x/short"]
            await clock.advance(2)
            (expired,) = await take(watch, 1)
            assert (expired.key, expired.value, expired.previous) == (PODS + "x/short", None, short)
            assert expired.revision > revision
            await clock.advance(60)
            (expired,) = await take(watch, 1)
            assert (expired.key, expired.previous) == (PODS + "x/renewed", renewed)
        assert await keys(store, PODS) == [PODS + "x/kept"]

    async def test_a_shorter_lease_is_not_kept_waiting_by_a_longer_one(self, store: Store, clock: VirtualClock) -> None:
        await store.put(PODS + "x/long", b"", ttl_s=3600)
        await store.put(PODS + "x/short", b"", ttl_s=2)
        async with aclosing(store.watch(PODS, after=await store.revision())) as watch:
            await clock.advance(3)
            (expired,) = await take(watch, 1)
        assert expired.key == PODS + "x/short"

    async def test_history_is_forgotten_after_five_minutes(self, store: Store, clock: VirtualClock) -> None:
        first = await store.put(PODS + "x/a", b"1")
        second = await store.put(PODS + "x/a", b"2")
        await clock.advance(200)
        assert await state(store, PODS, first) == {PODS + "x/a": (b"1", first)}
        await clock.advance(200)
        with pytest.raises(Compacted):
            await store.list(PODS, at=first)
        assert await state(store, PODS, second) == {PODS + "x/a": (b"2", second)}

    async def test_history_is_bounded_in_number(self, store: Store) -> None:
        first = await store.put(PODS + "x/a", b"")
        for _ in range(12):
            await asyncio.gather(*(store.put(PODS + "x/a", b"") for _ in range(1000)))
        with pytest.raises(Compacted) as error:
            await store.list(PODS, at=first)
        assert error.value.oldest >= await store.revision() - 10_000
