"""A store on an etcd cluster; several API servers may use one.

Writes are transactions on one key. Reads of the store are linearizable. Followers hang on one stream of all changes; `Feed.fresh` asks
etcd for its revision, once for all who ask at the same time, and waits until the stream has come to it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from pilothouse.kit.clock import Clock
from pilothouse.kit.grpc import RpcFailure
from pilothouse.kit.log import get_logger
from pilothouse.store.base import (
    ABSENT,
    Change,
    Compacted,
    Deliver,
    Entry,
    Feed,
    FutureRevision,
    Page,
    Restart,
    Revision,
    StoreUnavailable,
    WriteConflict,
)
from pilothouse.store.etcd.client import EtcdClient
from pilothouse.store.etcd.compactor import COMPACTED, Compactor, compact
from pilothouse.store.etcd.fresh import Latest
from pilothouse.store.etcd.keys import Keys, end_of
from pilothouse.store.etcd.leases import Leases
from pilothouse.store.etcd.messages import EQUAL, GREATER, TARGET_MOD, TARGET_VERSION
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.etcd.stream import Stream
from pilothouse.store.feed import Feeds, LocalFeed, Mailbox

PAGE_ENTRIES = 5000
"""How many entries are asked for at a time."""
MAILBOX_CHANGES = 4096
_RANGE = "/etcdserverpb.KV/Range"
_TXN = "/etcdserverpb.KV/Txn"
_FUTURE = "etcdserver: mvcc: required revision is a future revision"
_LEASE_GONE = "etcdserver: requested lease not found"
_TOO_SMALL = b"\0"


class EtcdFeed(LocalFeed):
    """One follower."""

    def __init__(
        self, prefix: str, deliver: Deliver, feeds: Feeds, stream: Stream, latest: Latest, restart: Restart | None
    ) -> None:
        super().__init__(prefix, deliver, feeds, stream)
        self._latest = latest
        self._restart = restart
        self.is_lost = False
        """Whether changes were lost and nobody could be told."""

    async def fresh(self) -> None:
        await self._latest.reached()

    @property
    def can_restart(self) -> bool:
        return self._restart is not None and self._held is None

    def restart(self, page: Page) -> None:
        """Give the follower the present state, from which it goes on."""
        assert self._restart is not None
        self._restart(page)

    def lose(self) -> None:
        self.is_lost = True
        self.close()


class EtcdStore:
    """A Store; see the module. Make one with `open`."""

    def __init__(self, options: EtcdOptions, clock: Clock, rng: random.Random) -> None:
        self._client = EtcdClient(options, clock, rng)
        self._keys = Keys(options.root)
        self._feeds = Feeds()
        self._stream = Stream(self._client, self._keys, self._feeds.tell, self._restart, clock, rng)
        self._latest = Latest(self.revision, self._stream)
        self._leases = Leases(self._client, clock, reuse_s=options.lease_reuse_s)
        self._compactor = Compactor(self._client, clock, options.compaction_interval_s)
        self._compacts = options.compaction_interval_s > 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._log = get_logger("pilothouse.store.etcd")

    @classmethod
    async def open(cls, options: EtcdOptions, clock: Clock, rng: random.Random) -> EtcdStore:
        """Raises ValueError for servers that are none, StoreUnavailable if none answers."""
        store = cls(options, clock, rng)
        try:
            await store._start()
        except BaseException:
            await store.close()
            raise
        return store

    async def _start(self) -> None:
        revision = await self.revision()
        self._stream.start(revision)
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._stream.run(), name="etcd watch"))
        if self._compacts:
            self._tasks.append(loop.create_task(self._compactor.run(), name="etcd compaction"))
        await self._stream.reach(revision)
        self._stream.begun()

    # Reading

    async def revision(self) -> Revision:
        response = await self._range(self._client.messages.RangeRequest(key=_TOO_SMALL, limit=1, keys_only=True))
        return Revision(response.header.revision)

    async def get(self, key: str) -> Entry | None:
        response = await self._range(self._client.messages.RangeRequest(key=self._keys.encode(key)))
        return self._entries(response.kvs)[0] if response.kvs else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        first = self._keys.encode(prefix)
        end = end_of(first)
        if after:
            first = max(first, self._keys.encode(after) + b"\0")
        revision = at if at is None else Revision(max(at, 1))
        entries: list[Entry] = []
        while True:
            wanted = min(limit - len(entries), PAGE_ENTRIES) if limit else PAGE_ENTRIES
            request = self._client.messages.RangeRequest(key=first, range_end=end, limit=wanted, revision=revision or 0)
            response = await self._range(request)
            entries += self._entries(response.kvs)
            revision = revision or Revision(response.header.revision)
            if not response.more or (limit and len(entries) >= limit):
                return Page(entries, revision, max(response.count - len(response.kvs), 0))
            first = response.kvs[-1].key + b"\0"

    async def _range(self, request: Any) -> Any:
        self._check_open()
        try:
            return await self._client.read(_RANGE, request, self._client.messages.RangeResponse)
        except RpcFailure as failure:
            if failure.details == COMPACTED:
                await self._learn_compacted()
                raise Compacted(self._stream.compacted) from None
            if failure.details == _FUTURE:
                raise FutureRevision(Revision(request.revision), self._stream.revision) from None
            raise self._client.unavailable(failure) from failure

    async def _learn_compacted(self) -> None:
        """Find out the oldest revision that is kept: a watch that begins before it is told."""
        try:
            async with aclosing(self._stream.changes(Revision(0))) as all_changes:
                async for _, revision in all_changes:
                    if revision:
                        return
        except Compacted:
            return
        except RpcFailure as failure:
            raise self._client.unavailable(failure) from failure

    def _entries(self, pairs: Sequence[Any]) -> Sequence[Entry]:
        return [
            Entry(key, pair.value, pair.mod_revision)
            for pair in pairs
            if (key := self._keys.decode(pair.key)) is not None
        ]

    # Writing

    async def put(
        self, key: str, value: bytes, *, expect: Revision | None = None, ttl_s: float | None = None
    ) -> Revision:
        self._check_open()
        messages = self._client.messages
        while True:
            try:
                lease = await self._leases.take(ttl_s) if ttl_s is not None else 0
            except RpcFailure as failure:
                raise self._client.unavailable(failure) from failure
            write = messages.PutRequest(key=self._keys.encode(key), value=value, lease=lease)
            request = messages.TxnRequest()
            request.success.add(request_put=write)
            if expect is not None:
                request.compare.add(result=EQUAL, target=TARGET_MOD, key=write.key, mod_revision=expect)
            try:
                return await self._write(key, request)
            except RpcFailure as failure:
                if failure.details != _LEASE_GONE:
                    raise self._client.unavailable(failure) from failure
                self._leases.forget(lease)

    async def delete(self, key: str, *, expect: Revision | None = None) -> Revision:
        self._check_open()
        messages = self._client.messages
        encoded = self._keys.encode(key)
        if expect == ABSENT:
            entry = await self.get(key)
            raise WriteConflict(key, ABSENT if entry is None else entry.mod_revision)
        request = messages.TxnRequest()
        request.success.add(request_delete_range=messages.DeleteRangeRequest(key=encoded))
        if expect is None:
            request.compare.add(result=GREATER, target=TARGET_VERSION, key=encoded, version=0)
        else:
            request.compare.add(result=EQUAL, target=TARGET_MOD, key=encoded, mod_revision=expect)
        try:
            return await self._write(key, request)
        except RpcFailure as failure:
            raise self._client.unavailable(failure) from failure

    async def _write(self, key: str, request: Any) -> Revision:
        messages = self._client.messages
        if request.compare:
            range_ = messages.RangeRequest(key=request.compare[0].key, keys_only=True)
            request.failure.add(request_range=range_)
        answer = await self._client.write(_TXN, request, messages.TxnResponse)
        if answer.succeeded:
            return Revision(answer.header.revision)
        pairs = answer.responses[0].response_range.kvs
        raise WriteConflict(key, Revision(pairs[0].mod_revision) if pairs else ABSENT)

    # Following

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        self._check_open()
        if after > self._stream.revision:
            await self._latest.reached()
            if after > self._stream.revision:
                raise FutureRevision(after, self._stream.revision)
        feed = EtcdFeed(prefix, deliver, self._feeds, self._stream, self._latest, restart)
        past = self._stream.since(prefix, after)
        self._feeds.add(feed)
        try:
            if past is None:
                past = await self._catch_up(prefix, after)
                if feed.is_lost:
                    raise Compacted(self._stream.compacted)
            feed.start(past)
        except BaseException:
            feed.close()
            raise
        return feed

    async def _catch_up(self, prefix: str, after: Revision) -> Sequence[Change]:
        """The changes after a revision up to where the stream is now, which are older than what it keeps."""
        until = self._stream.revision
        past: list[Change] = []
        try:
            async with aclosing(self._stream.changes(after)) as older:
                async for changes, revision in older:
                    past += (change for change in changes if change.revision <= until and change.key.startswith(prefix))
                    if revision >= until:
                        break
        except RpcFailure as failure:
            raise self._client.unavailable(failure) from failure
        return past

    async def watch(self, prefix: str, *, after: Revision) -> AsyncGenerator[Sequence[Change], None]:
        while True:
            mailbox = Mailbox(MAILBOX_CHANGES)
            feed = await self.follow(prefix, mailbox.put, after=after, restart=mailbox.lose)
            try:
                while (changes := await mailbox.take()) is not None:
                    after = changes[-1].revision
                    yield changes
            finally:
                feed.close()

    async def _restart(self) -> Revision:
        """Put every follower to the present state, because the changes that led to it are not to be had."""
        revision = await self.revision()
        for feed in self._feeds:
            assert isinstance(feed, EtcdFeed)
            if feed.can_restart:
                feed.restart(await self.list(feed.prefix, at=revision))
            else:
                feed.lose()
        return revision

    # History, the end

    async def compact(self, before: Revision) -> None:
        self._check_open()
        try:
            await compact(self._client, before)
        except RpcFailure as failure:
            if failure.details == _FUTURE:
                raise FutureRevision(before, self._stream.revision) from None
            raise self._client.unavailable(failure) from failure
        self._stream.note_compaction(before)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()
