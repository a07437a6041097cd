"""What only a store outside the process can suffer: other servers' writes, lost connections, lost history, TLS."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock
from pilothouse.store.base import (
    ABSENT,
    Change,
    Compacted,
    OutcomeUnknown,
    Page,
    Revision,
    StoreUnavailable,
    ValueTooLarge,
    WriteConflict,
)
from pilothouse.store.etcd.client import EtcdClient
from pilothouse.store.etcd.compactor import Compactor
from pilothouse.store.etcd.leases import Leases
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.etcd.store import EtcdStore
from tests.store.etcd.certificates import Certificates
from tests.store.etcd.link import Link
from tests.store.etcd.server import Etcd, needs_etcd
from tests.store.suite import PODS, changes_until, keys, state, take

pytestmark = [needs_etcd, pytest.mark.real]

KEY = PODS + "x/a"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as etcd:
        yield etcd


@asynccontextmanager
async def opened(*urls: str, **options: object) -> AsyncIterator[EtcdStore]:
    store = await EtcdStore.open(EtcdOptions(urls, **options), SystemClock(), random.Random(1))  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(etcd: Etcd) -> AsyncIterator[EtcdStore]:
    async with opened(*etcd.urls) as store:
        yield store


# Faults


async def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"etcd does not answer at 127.0.0.1:1 \(.*Connection refused"):
        async with opened("http://127.0.0.1:1"):
            pass


@pytest.mark.parametrize("server", ["", "ftp://h:1", "http://h", "h", "http://h:port", "http://:1"])
def test_servers_that_are_none_are_refused(server: str) -> None:
    with pytest.raises(ValueError, match="is no etcd server"):
        EtcdOptions((server,)).check()


def test_schemes_must_fit() -> None:
    with pytest.raises(ValueError, match="the same scheme"):
        EtcdOptions(("http://a:1", "https://a:1")).check()
    with pytest.raises(ValueError, match="use https"):
        EtcdOptions(("http://a:1",), authority=b"x").check()
    assert EtcdOptions(("http://[::1]:1", "http://h:2")).targets() == ("[::1]:1", "h:2")


async def test_a_write_whose_answer_is_lost_is_not_made_twice(etcd: Etcd, store: EtcdStore) -> None:
    async with Link(etcd.urls[0]) as link, opened(link.url) as other:
        first = await other.put(KEY, b"1")
        link.hold_answers()
        writing = asyncio.ensure_future(other.put(KEY, b"2", expect=first))
        async with aclosing(store.watch(PODS, after=first)) as watch:
            (change,) = await take(watch, 1)
        await link.cut()
        with pytest.raises(OutcomeUnknown, match="read before you try again"):
            await writing
        await link.mend()
        assert await other.get(KEY) == await store.get(KEY)
        assert await state(store, PODS) == {KEY: (b"2", change.revision)}


async def test_calls_wait_for_a_connection_that_comes_back(etcd: Etcd) -> None:
    async with Link(etcd.urls[0]) as link, opened(link.url) as store:
        told: list[Change] = []
        feed = await store.follow(PODS, told.extend, after=await store.revision())
        for value in (b"1", b"2", b"3"):
            await link.cut()
            calls = asyncio.gather(store.get(KEY), store.revision(), feed.fresh())
            await asyncio.sleep(0)
            await link.mend()
            await calls
            await store.put(KEY, value)
        await feed.fresh()
        assert [change.value for change in told] == [b"1", b"2", b"3"]


async def test_etcd_is_down_and_comes_back_with_its_data(etcd: Etcd, store: EtcdStore) -> None:
    told: list[Change] = []
    feed = await store.follow(PODS, told.extend, after=await store.revision())
    first = await store.put(KEY, b"1")
    (member,) = etcd.members
    member.kill()
    refusals = await asyncio.gather(
        store.get(KEY), store.put(KEY, b"2"), store.delete(KEY), feed.fresh(), return_exceptions=True
    )
    assert all(isinstance(refusal, StoreUnavailable) for refusal in refusals)
    assert "etcd does not answer at 127.0.0.1:" in str(refusals[0])
    member.start()
    member.wait()
    second = await store.put(KEY, b"3", expect=first)
    await feed.fresh()
    assert [(change.revision, change.value) for change in told] == [(first, b"1"), (second, b"3")]


async def test_without_a_majority_nothing_is_written_or_read(tmp_path: Path) -> None:
    with Etcd(tmp_path, size=3) as etcd:
        async with opened(*etcd.urls) as store:
            await store.put(KEY, b"1")
            for member in etcd.members[1:]:
                member.kill()
            written, read = await asyncio.gather(store.put(KEY, b"2"), store.get(KEY), return_exceptions=True)
            assert isinstance(written, StoreUnavailable)
            assert isinstance(read, StoreUnavailable)
            assert "see that a majority of its members runs" in str(read)
            etcd.members[1].start()
            etcd.members[1].wait()
            await store.put(KEY, b"3")


async def test_history_that_was_lost_is_replaced_by_the_present(etcd: Etcd, store: EtcdStore) -> None:
    async with Link(etcd.urls[0]) as link, opened(link.url) as other:
        told: list[Change] = []
        pages: asyncio.Queue[Page] = asyncio.Queue()
        await store.put(KEY, b"1")
        start = await other.revision()
        feed = await other.follow(PODS, told.extend, after=start, restart=pages.put_nowait)
        watch = other.watch(PODS, after=start)
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await link.cut()
        for value in (b"2", b"3"):
            last = await store.put(KEY, value)
        await store.put(PODS + "x/b", b"")
        await store.compact(last)
        await link.mend()
        page = await pages.get()
        assert [(entry.key[-1], entry.value) for entry in page.entries] == [("a", b"3"), ("b", b"")]
        with pytest.raises(Compacted):
            await reading
        after = await store.put(KEY, b"4")
        await feed.fresh()
        assert [(change.revision, change.value) for change in told] == [(after, b"4")]
        with pytest.raises(Compacted):
            await other.follow(PODS, told.extend, after=start)


async def test_etcd_put_back_to_an_older_state_is_noticed(tmp_path: Path) -> None:
    with Etcd(tmp_path) as etcd:
        async with opened(*etcd.urls) as store:
            for _ in range(5):
                await store.put(KEY, b"new")
            pages: asyncio.Queue[Page] = asyncio.Queue()
            feed = await store.follow(
                PODS, lambda changes: None, after=await store.revision(), restart=pages.put_nowait
            )
            (member,) = etcd.members
            member.kill()
            (tmp_path / "m0").rename(tmp_path / "gone")
            member.start()
            member.wait()
            with pytest.raises(StoreUnavailable, match="put back"):
                await feed.fresh()
            assert (await pages.get()).entries == []
            await store.put(KEY, b"again", expect=ABSENT)
            await feed.fresh()
            assert feed.revision == await store.revision()


@pytest.mark.parametrize(("size", "why"), [(8_500_000, "request is too large"), (9_000_000, "larger than max")])
async def test_a_value_that_is_too_large_is_refused(store: EtcdStore, size: int, why: str) -> None:
    with pytest.raises(ValueTooLarge, match=why):
        await store.put(KEY, b"x" * size)
    assert await store.get(KEY) is None


async def test_calls_under_way_end_with_the_store(etcd: Etcd) -> None:
    async with Link(etcd.urls[0]) as link, opened(link.url) as store:
        feed = await store.follow(PODS, lambda changes: None, after=await store.revision())
        link.hold_answers()
        calls = asyncio.gather(store.get(KEY), store.put(KEY, b""), feed.fresh(), return_exceptions=True)
        await asyncio.sleep(0)
        await store.close()
        assert [type(error) for error in await calls] == [StoreUnavailable, OutcomeUnknown, StoreUnavailable]


# Several servers


async def test_servers_see_each_others_writes_at_once(etcd: Etcd, store: EtcdStore) -> None:
    async with opened(*etcd.urls) as other:
        seen: dict[str, bytes | None] = {}

        def deliver(changes: Sequence[Change]) -> None:
            seen.update({change.key: change.value for change in changes})

        feed = await other.follow(PODS, deliver, after=await other.revision())

        async def write_and_look(number: int) -> None:
            for turn in range(20):
                key, value = f"{PODS}x/{number}", b"%d" % turn
                await store.put(key, value)
                await feed.fresh()
                assert seen[key] == value

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(write_and_look(number))


async def test_keys_of_others_are_left_alone_and_do_not_hold_up_followers(etcd: Etcd, store: EtcdStore) -> None:
    async with opened(*etcd.urls, prefix="other/place/") as other:
        told: list[Change] = []
        feed = await store.follow("/registry/", told.extend, after=await store.revision())
        revision = await other.put(KEY, b"1", expect=ABSENT)
        await feed.fresh()
        assert (told, feed.revision) == ([], revision)
        assert await keys(store, "/registry/") == []
        assert await keys(other, "/registry/") == [KEY]
    async with opened(*etcd.urls, prefix="/other") as outer:
        assert await keys(outer, "/registry/") == ["/registry/place/core/pods/x/a"]


async def test_a_cluster_larger_than_a_page_is_listed_whole(etcd: Etcd, store: EtcdStore) -> None:
    names = [f"{number:05}" for number in range(5500)]
    for start in range(0, len(names), 1000):
        await asyncio.gather(*(store.put(f"{PODS}x/{name}", b"") for name in names[start : start + 1000]))
    assert [key.rpartition("/")[2] for key in await keys(store, PODS)] == names
    page = await store.list(PODS, limit=5200)
    assert (len(page.entries), page.remaining) == (5200, 300)
    async with opened(*etcd.urls) as other:
        start = Revision(page.revision - 3000)
        told: list[Change] = []
        await other.follow(PODS, told.extend, after=start)
        assert [change.revision for change in told] == list(range(start + 1, page.revision + 1))


# Leases and compaction


async def test_keys_expire(store: EtcdStore) -> None:
    short = await store.put(PODS + "x/short", b"", ttl_s=1)
    await store.put(PODS + "x/same", b"", ttl_s=1)
    await store.put(PODS + "x/kept", b"", ttl_s=1)
    await store.put(PODS + "x/kept", b"2")
    await store.put(PODS + "x/long", b"", ttl_s=3600)
    expired = await changes_of(store, await store.revision(), 2)
    assert [(change.key[-5:], change.value) for change in expired] == [("/same", None), ("short", None)]
    assert expired[1].previous == short
    assert await keys(store, PODS) == [PODS + "x/kept", PODS + "x/long"]


async def changes_of(store: EtcdStore, after: Revision, count: int) -> list[Change]:
    async with aclosing(store.watch(PODS, after=after)) as watch:
        return sorted(await take(watch, count), key=lambda change: change.key)


async def test_leases_are_shared_and_renewed(etcd: Etcd) -> None:
    client = EtcdClient(EtcdOptions(etcd.urls), SystemClock(), random.Random(1))
    try:
        leases = Leases(client, SystemClock())
        first = await leases.take(3600)
        assert set(await asyncio.gather(*(leases.take(3600) for _ in range(999)))) == {first}
        second = await leases.take(3600)
        assert second != first
        assert await leases.take(60) not in (first, second)
        leases.forget(second)
        assert await leases.take(3600) not in (first, second)
    finally:
        await client.close()


async def test_a_lease_that_etcd_lost_is_replaced(etcd: Etcd, store: EtcdStore) -> None:
    await store.put(PODS + "x/a", b"", ttl_s=1)
    await changes_of(store, await store.revision(), 1)
    store._leases._by_ttl[1].ends += 3600
    await store.put(PODS + "x/b", b"", ttl_s=1)
    assert await keys(store, PODS) == [PODS + "x/b"]


async def test_one_server_compacts_what_is_older_than_an_interval(etcd: Etcd) -> None:
    clock = SystemClock()
    client = EtcdClient(EtcdOptions(etcd.urls), clock, random.Random(1))
    one, other = Compactor(client, clock, 300), Compactor(client, clock, 300)
    try:
        async with opened(*etcd.urls) as store, opened(*etcd.urls) as watcher:
            first = await store.put(KEY, b"1")
            assert await one.turn() is None
            second = await store.put(KEY, b"2")
            assert await other.turn() is None
            assert await state(store, PODS, first) == {KEY: (b"1", first)}
            assert await one.turn() is not None
            assert await other.turn() is None
            third = await store.put(KEY, b"3")
            compacted = await one.turn()
            assert compacted is not None
            assert second < compacted < third
            assert await other.turn() is None
            with pytest.raises(Compacted) as error:
                await store.list(PODS, at=first)
            assert error.value.oldest == compacted
            assert [change.revision for change in await changes_until(store, PODS, compacted, third)] == [third]
            feed = await watcher.follow(PODS, lambda changes: None, after=third)
            await feed.fresh()
            assert feed.compacted == compacted
            assert await other.turn() is not None
    finally:
        await client.close()


# TLS


async def test_tls_with_client_certificates(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    with Etcd(tmp_path, flags=made.server_flags()) as etcd:
        options = EtcdOptions(etcd.urls, made.authority, made.certificate, made.key)
        store = await EtcdStore.open(options, SystemClock(), random.Random(1))
        try:
            revision = await store.put(KEY, b"1")
            assert await state(store, PODS) == {KEY: (b"1", revision)}
        finally:
            await store.close()
        refusals = await asyncio.gather(
            *(
                EtcdStore.open(each, SystemClock(), random.Random(1))
                for each in (replace(options, certificate=None, key=None), replace(options, authority=made.stranger))
            ),
            return_exceptions=True,
        )
        assert ["etcd does not answer" in str(refusal) for refusal in refusals] == [True, True]


async def test_certificates_may_change_while_they_are_in_use(tmp_path: Path) -> None:
    """All at once, authorities included: what connects afterwards shows and believes the new ones."""
    made, next_ones = Certificates(tmp_path), Certificates(tmp_path / "next")
    files = [made.pki.certificate_path("ca"), made.pki.certificate_path("client"), made.pki.key_path("client")]
    with Etcd(tmp_path, flags=made.server_flags()) as etcd:
        store = await EtcdStore.open(EtcdOptions(etcd.urls, *files), SystemClock(), random.Random(1))
        try:
            told: list[Change] = []
            feed = await store.follow(PODS, told.extend, after=await store.revision())
            await store.put(KEY, b"1")
            (member,) = etcd.members
            member.kill()
            made.become(next_ones)
            member.start()
            member.wait()
            await store.put(KEY, b"2")
            await feed.fresh()
            assert [change.value for change in told] == [b"1", b"2"]
            files[1].unlink()
            member.kill()
            with pytest.raises(StoreUnavailable):
                await store.get(KEY)
            member.start()
            member.wait()
            assert await state(store, PODS) == {KEY: (b"2", told[-1].revision)}
        finally:
            await store.close()


async def test_conflicts_name_where_the_key_is(store: EtcdStore) -> None:
    with pytest.raises(WriteConflict) as refused:
        await store.delete(KEY, expect=ABSENT)
    assert refused.value.current == ABSENT
