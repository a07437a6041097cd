"""Three members, of which the leader dies or stops again and again under load: no write is lost, no change missed or told twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock
from pilothouse.store.base import ABSENT, Change, Entry, Revision, StoreUnavailable, WriteConflict
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.etcd.store import EtcdStore
from tests.store.etcd.history import History
from tests.store.etcd.server import Etcd, leader_of, needs_etcd
from tests.store.suite import PODS

pytestmark = [needs_etcd, pytest.mark.real]

KEYS = [f"{PODS}x/{number}" for number in range(6)]
WRITES_BETWEEN_FAULTS = 150


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path, size=3) as etcd:
        yield etcd


class Load:
    """Clients of two servers that read and write a few keys and record what they see."""

    def __init__(self, stores: list[EtcdStore]) -> None:
        self.stores = stores
        self.history = History()
        self.told: list[list[Change]] = [[] for _ in stores]
        self.caches: list[dict[str, Entry]] = [{} for _ in stores]
        self.acknowledged = 0
        self._wanted = 0
        self._progress = asyncio.Event()
        self.is_over = False

    async def client(self, number: int) -> None:
        rng = random.Random(number)
        turn = 0
        while not self.is_over:
            turn += 1
            which = rng.randrange(len(self.stores))
            key = rng.choice(KEYS)
            try:
                if rng.random() < 0.4:
                    await self.read(which, key)
                else:
                    await self.write(which, key, b"%d/%d" % (number, turn), rng)
            except StoreUnavailable:
                continue

    async def read(self, which: int, key: str) -> None:
        """From the cache, as an API server does."""
        call = self.history.begin(key, None, is_write=False)
        await self.feeds[which].fresh()
        entry = self.caches[which].get(key)
        self.history.end(call, self.feeds[which].revision, None if entry is None else entry.value)

    async def write(self, which: int, key: str, value: bytes, rng: random.Random) -> None:
        entry = self.caches[which].get(key)
        expect = ABSENT if entry is None else entry.mod_revision
        is_deletion = entry is not None and rng.random() < 0.1
        call = self.history.begin(key, None if is_deletion else value, is_write=True)
        try:
            if is_deletion:
                revision = await self.stores[which].delete(key, expect=expect)
            else:
                revision = await self.stores[which].put(key, value, expect=expect)
        except WriteConflict:
            self.history.calls.remove(call)
        else:
            self.history.end(call, revision, call.value)
            self.acknowledged += 1
            if self.acknowledged >= self._wanted:
                self._progress.set()

    async def follow(self) -> None:
        self.feeds = [
            await store.follow("/registry/", lambda changes, each=each: self.take(each, changes), after=Revision(1))  # type: ignore[misc]
            for each, store in enumerate(self.stores)
        ]

    def take(self, which: int, changes: list[Change]) -> None:
        self.told[which] += changes
        for change in changes:
            if change.value is None:
                self.caches[which].pop(change.key, None)
            else:
                self.caches[which][change.key] = Entry(change.key, change.value, change.revision)

    async def chaos(self, etcd: Etcd) -> None:
        for is_killed in (True, False, True, True):
            await self.more()
            leader = await leader_of(etcd)
            if is_killed:
                leader.kill()
                await self.more()
                leader.start()
                await asyncio.to_thread(leader.wait)
            else:
                leader.pause()
                await self.more()
                leader.resume()
        self.is_over = True

    async def more(self) -> None:
        """Return when some more writes were acknowledged."""
        self._wanted = self.acknowledged + WRITES_BETWEEN_FAULTS
        self._progress.clear()
        await self._progress.wait()


async def test_the_leader_fails_under_load(etcd: Etcd) -> None:
    clock = SystemClock()
    stores = [
        await EtcdStore.open(EtcdOptions(urls), clock, random.Random(number))
        for number, urls in enumerate((etcd.urls, etcd.urls[::-1]))
    ]
    try:
        load = Load(stores)
        await load.follow()
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(load.client(number))
            group.create_task(load.chaos(etcd))
        for feed in load.feeds:
            await feed.fresh()
        afresh = await EtcdStore.open(EtcdOptions(etcd.urls), clock, random.Random(9))
        stores.append(afresh)
        made: list[Change] = []
        await afresh.follow("/registry/", made.extend, after=Revision(1))
        assert load.told == [made, made]
        load.history.check(made)
        page = await afresh.list("/registry/")
        assert {entry.key: entry for entry in page.entries} == load.caches[0] == load.caches[1]
        assert len(made) >= load.acknowledged >= 8 * WRITES_BETWEEN_FAULTS
    finally:
        for store in stores:
            await store.close()
