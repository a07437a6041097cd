"""A store in this process: group commit, feeds, expiry and compaction over a log.

Requests that arrive while a write is under way form the next one, so that many share one fsync. All state is in the ledger; a write
changes it when it is durable, then tells the followers, then answers those who asked: whoever sees a revision can read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from pilothouse.kit.clock import Clock, Timer
from pilothouse.kit.log import get_logger
from pilothouse.store.base import (
    Change,
    Compacted,
    Deliver,
    Entry,
    Feed,
    Page,
    Restart,
    Revision,
    StoreUnavailable,
    WriteConflict,
)
from pilothouse.store.feed import Feeds, LocalFeed, Mailbox
from pilothouse.store.ledger import Batch, Ledger, Request
from pilothouse.store.log import Log

HISTORY_S = 300.0
"""How long the past is kept, as etcd's default compaction keeps it for Kubernetes."""
HISTORY_WRITES = 10_000
"""How many writes of the past are kept at most."""
BATCH_REQUESTS = 512
BATCH_BYTES = 4 * 1024 * 1024
GARBAGE_ROWS = 256
"""How many old rows have to have gathered before a write deletes them along with what it adds; a timer sees to fewer."""
GARBAGE_PER_WRITE = 1024
"""How many old rows a write deletes at most, so that none takes long."""
MAILBOX_CHANGES = 4096
"""How many changes wait for a slow reader of `watch` before it has to read them from the log instead."""
_COMPACT_EVERY_S = 30.0
_EXPIRE_EVERY_S = 1.0
_RETRY_S = 10.0

_Waiting = tuple[Request, asyncio.Future[Revision]]


class LocalStore:
    """A Store over a log; see the module and `Store`."""

    def __init__(
        self, log: Log, clock: Clock, *, history_s: float = HISTORY_S, history_writes: int = HISTORY_WRITES
    ) -> None:
        self._log = log
        self._journal = get_logger("pilothouse.store")
        self._clock = clock
        self._history_s = history_s
        self._history_writes = history_writes
        self._ledger = Ledger()
        headers, compacted = log.load()
        self._garbage: list[Revision] = self._ledger.load(headers, compacted, clock.monotonic())
        self._feeds = Feeds()
        self._pending: list[_Waiting] = []
        self._under_way: tuple[Batch, Sequence[_Waiting], Sequence[Revision]] | None = None
        self._is_flush_due = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self._compact_timer: Timer | None = None
        self._expire_timer: Timer | None = None
        self._expire_at = 0.0

    def start(self) -> None:
        """Begin to expire and compact. Needs a running event loop."""
        self._set_compact_timer()
        self._set_expire_timer()

    # Reading

    async def revision(self) -> Revision:
        return self._ledger.revision

    async def get(self, key: str) -> Entry | None:
        page = await self.list(key, limit=1)
        return page.entries[0] if page.entries and page.entries[0].key == key else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        self._check_open()
        heads, revision, remaining = self._ledger.page(prefix, after, limit, at)
        while True:
            values = await self._log.read([head for _, head in heads]) if heads else {}
            if len(values) == len(heads):
                return Page([Entry(key, values[head], head) for key, head in heads], revision, remaining)
            self._check_open()
            asked = heads
            heads, revision, remaining = self._ledger.page(prefix, after, limit, at)
            if missing := [key for key, head in heads if head not in values and (key, head) in asked]:
                raise StoreUnavailable(
                    f"the store is damaged: the value of {missing[0]} is missing. Put a backup in its place"
                )

    # Writing

    async def put(
        self, key: str, value: bytes, *, expect: Revision | None = None, ttl_s: float | None = None
    ) -> Revision:
        expires = None if ttl_s is None else self._clock.now() + ttl_s
        return await self._request(Request(key, value, expect, expires))

    async def delete(self, key: str, *, expect: Revision | None = None) -> Revision:
        return await self._request(Request(key, None, expect, None))

    def _request(self, request: Request) -> asyncio.Future[Revision]:
        self._check_open()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Revision] = loop.create_future()
        self._pending.append((request, answer))
        if self._log.is_instant:
            self._flush()
        elif not self._is_flush_due and self._under_way is None:
            self._is_flush_due = True
            loop.call_soon(self._flush)
        return answer

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._under_way is not None:
            return
        waiting = self._take()
        batch = self._ledger.decide([request for request, _ in waiting])
        garbage = self._garbage[:GARBAGE_PER_WRITE] if len(self._garbage) >= GARBAGE_ROWS or not waiting else ()
        if not batch.rows and not garbage:
            self._answer(batch, waiting)
            self._continue()
            return
        self._under_way = (batch, waiting, garbage)
        self._log.write(batch.rows, garbage, self._ledger.compacted, self._written)

    def _take(self) -> Sequence[_Waiting]:
        """The next requests: not too many at once, and none that is no longer wanted."""
        size = 0
        count = 0
        for request, _ in self._pending:
            size += len(request.value or b"")
            if count and (size > BATCH_BYTES or count >= BATCH_REQUESTS):
                break
            count += 1
        taken, self._pending = self._pending[:count], self._pending[count:]
        return [waiting for waiting in taken if not waiting[1].cancelled()]

    def _written(self, error: StoreUnavailable | None) -> None:
        assert self._under_way is not None
        batch, waiting, garbage = self._under_way
        self._under_way = None
        if error is None:
            del self._garbage[: len(garbage)]
            changes = self._ledger.apply(batch.rows, self._clock.monotonic())
            self._feeds.tell(changes)
            self._answer(batch, waiting)
            if len(self._garbage) < GARBAGE_PER_WRITE:
                self._forget()
            if changes:
                self._set_compact_timer()
                self._set_expire_timer()
        else:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(type(error)(str(error)))
        self._continue()

    def _continue(self) -> None:
        """Go on with the requests that have come meanwhile, or tell `close` that there are none."""
        if self._pending:
            if not self._is_flush_due:
                self._is_flush_due = True
                asyncio.get_running_loop().call_soon(self._flush)
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    @staticmethod
    def _answer(batch: Batch, waiting: Sequence[_Waiting]) -> None:
        for (_, answer), outcome in zip(waiting, batch.outcomes, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, WriteConflict):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

    # Following

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        self._check_open()
        feed = LocalFeed(prefix, deliver, self._feeds, self._ledger)
        past = self._ledger.since(prefix, after)
        self._feeds.add(feed)
        try:
            written = [write.revision for write in past if not write.is_deletion]
            values = await self._log.read(written) if written else {}
            if len(values) < len(written):
                raise Compacted(self._ledger.compacted)
        except BaseException:
            feed.close()
            raise
        feed.start([Change(write.key, write.revision, values.get(write.revision), write.previous) for write in past])
        return feed

    async def watch(self, prefix: str, *, after: Revision) -> AsyncGenerator[Sequence[Change], None]:
        while True:
            mailbox = Mailbox(MAILBOX_CHANGES)
            feed = await self.follow(prefix, mailbox.put, after=after)
            try:
                while (changes := await mailbox.take()) is not None:
                    after = changes[-1].revision
                    yield changes
            finally:
                feed.close()

    # Expiry and compaction

    async def compact(self, before: Revision) -> None:
        self._check_open()
        if before > self._ledger.revision:
            self._ledger.check(before)
        self._garbage += self._ledger.forget(Revision(before))
        if not self._is_flush_due and self._under_way is None:
            self._flush()

    def _forget(self) -> None:
        before = self._clock.monotonic() - self._history_s
        self._garbage += self._ledger.forget_old(before, self._history_writes)

    def _set_compact_timer(self) -> None:
        if self._compact_timer is not None or self._closed:
            return
        if self._garbage:
            delay = _COMPACT_EVERY_S
        elif (oldest := self._ledger.oldest_at()) is not None:
            delay = max(oldest + self._history_s - self._clock.monotonic(), _COMPACT_EVERY_S)
        else:
            return
        self._compact_timer = self._clock.call_later(delay, self._compact_old)

    def _compact_old(self) -> None:
        self._compact_timer = None
        if self._closed:
            return
        self._forget()
        if self._garbage and not self._is_flush_due and self._under_way is None:
            self._flush()
        self._set_compact_timer()

    def _set_expire_timer(self) -> None:
        expiry = self._ledger.next_expiry()
        if expiry is None or self._closed:
            return
        if self._expire_timer is not None:
            if expiry >= self._expire_at:
                return
            self._expire_timer.cancel()
        self._expire_at = max(expiry, self._clock.now() + _EXPIRE_EVERY_S)
        self._expire_timer = self._clock.call_later(self._expire_at - self._clock.now(), self._expire)

    def _expire(self) -> None:
        """Delete what has expired, in the order of writes like any other deletion."""
        self._expire_timer = None
        if self._closed:
            return
        for key, revision in self._ledger.take_expired(self._clock.now(), BATCH_REQUESTS):
            answer = self._request(Request(key, None, revision, None))
            answer.add_done_callback(partial(self._expired, key, revision))
        self._set_expire_timer()

    def _expired(self, key: str, revision: Revision, answer: asyncio.Future[Revision]) -> None:
        """Try again later if the key could not be deleted; if it was written meanwhile, it has another expiry or none."""
        if not answer.cancelled() and isinstance(error := answer.exception(), StoreUnavailable) and not self._closed:
            self._journal.warning("expired key could not be deleted", key=key, error=error)
            self._ledger.return_expired([(key, revision)], self._clock.now() + _RETRY_S)
            self._set_expire_timer()

    # The end

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in (self._compact_timer, self._expire_timer):
            if timer is not None:
                timer.cancel()
        if self._pending or self._under_way is not None:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        await self._log.close()
