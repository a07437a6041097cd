"""Every change of a cluster's state, in order and each once: one watch of all of etcd's keys for the whole process.

Since it sees every key, each revision brings a change, so that a missing one is noticed, and having seen the change of revision N
means having seen all up to N: no progress notification is needed, which etcd before 3.4.25 and 3.5.8 could send too early. The last
changes are kept, so that followers that begin a little in the past cost no call.

A broken watch goes on with the next member from where it was. If etcd has forgotten what came since, followers begin again from the
present state.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.grpc import RpcCode, RpcFailure
from pilothouse.kit.log import get_logger
from pilothouse.store.base import ABSENT, Change, Compacted, Revision, StoreUnavailable
from pilothouse.store.etcd.client import EtcdClient
from pilothouse.store.etcd.keys import COMPACTION, Keys
from pilothouse.store.etcd.messages import DELETE

PAST_REVISIONS = 600
"""How far back the stream begins: enough for the watch caches, which begin a little in the past too."""
PAST_CHANGES = 1200
PAST_BYTES = 8 * 1024 * 1024
REACH_TIMEOUT_S = 3.0
"""How long the stream may take to come to a revision that etcd has."""
_RETRY = BackoffPolicy(base_s=0.05, max_s=2.0, jitter=0.5)

Tell = Callable[[Sequence[Change]], None]
Begin = Callable[[], Awaitable[Revision]]
"""Puts all followers to the present state and returns its revision."""


class Stream:
    """See the module. Owned by the store, which runs it."""

    def __init__(
        self, client: EtcdClient, keys: Keys, tell: Tell, begin: Begin, clock: Clock, rng: random.Random
    ) -> None:
        self.revision = Revision(0)
        """Every change up to this revision has been told."""
        self.compacted = Revision(1)
        self._client = client
        self._keys = keys
        self._tell = tell
        self._begin_again = begin
        self._clock = clock
        self._backoff = Backoff(_RETRY, rng)
        self._log = get_logger("pilothouse.store.etcd")
        self._past: deque[Change] = deque()
        self._past_bytes = 0
        self._past_start = Revision(0)
        self._waiting: list[tuple[Revision, asyncio.Future[None]]] = []
        self._watching: asyncio.Task[None] | None = None
        self._has_lost = False
        self._has_begun = False
        self._last_error = ""

    def start(self, revision: Revision) -> None:
        """Set where the stream begins, given etcd's present revision."""
        self.revision = self._past_start = Revision(max(revision - PAST_REVISIONS, 1))

    def begun(self) -> None:
        """From now on there are followers, who must not miss anything."""
        self._has_begun = True

    async def run(self) -> None:
        """Follow etcd until cancelled."""
        while True:
            # A task of its own, so that a watch that hangs can be cut off.
            watching = self._watching = asyncio.create_task(self._watch(), name="etcd watch")
            try:
                await asyncio.wait((watching,))
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            if not watching.cancelled() and self._may_go_on_at_once(watching.exception()):
                continue
            await self._clock.sleep(self._backoff.next())

    def _may_go_on_at_once(self, error: BaseException | None) -> bool:
        """Note how the watch ended; the same failure is told once."""
        is_new = self._last_error != str(error)
        self._last_error = str(error)
        if isinstance(error, Compacted):
            if not self._has_begun:
                self.revision = self._past_start = self.compacted
                return True
            self._has_lost = True
            self._log.warning("etcd has forgotten changes that were not seen", error=str(error))
        elif isinstance(error, RpcFailure | StoreUnavailable):
            if is_new:
                self._log.warning("the watch on etcd broke; trying again", error=str(error))
        else:
            self._log.error("the watch on etcd failed", exc_info=error)
        return False

    async def _watch(self) -> None:
        if self._has_lost:
            revision = await self._begin_again()
            self._past.clear()
            self._past_bytes = 0
            self.revision = self._past_start = self.compacted = revision
            self._has_lost = False
            self._wake()
        async with aclosing(self.changes(self.revision)) as stream:
            async for changes, revision in stream:
                self._backoff.reset()
                if self._last_error:
                    self._log.info("the watch on etcd goes on", revision=self.revision)
                    self._last_error = ""
                self._keep(changes)
                self.revision = revision
                if changes:
                    self._tell(changes)
                self._wake()

    async def changes(self, after: Revision) -> AsyncGenerator[tuple[Sequence[Change], Revision], None]:
        """The store's changes after a revision in whole revisions, and up to which revision they go; first none, when the watch is made.

        Raises Compacted, also where the watch skips a revision; RpcFailure when the watch breaks.
        """
        fragments: list[Any] = []
        async with aclosing(self._client.watch_everything(after)) as responses:
            async for response in responses:
                if response.compact_revision:
                    self.note_compaction(Revision(response.compact_revision))
                    raise Compacted(self.compacted)
                if response.created and not response.canceled:
                    yield (), after
                    continue
                if response.canceled:
                    raise RpcFailure(RpcCode.UNAVAILABLE, response.cancel_reason or "etcd ended the watch")
                fragments += response.events
                if response.fragment or not fragments:
                    continue
                events, fragments = fragments, []
                changes, after = self._read(events, after)
                yield changes, after

    def since(self, prefix: str, after: Revision) -> Sequence[Change] | None:
        """The changes under `prefix` after a revision; None if they are not at hand. Raises Compacted."""
        if after < self.compacted:
            raise Compacted(self.compacted)
        if after < self._past_start:
            return None
        if after >= self.revision:
            return ()
        return [change for change in self._past if change.revision > after and change.key.startswith(prefix)]

    async def reach(self, revision: Revision) -> None:
        """Return when every change up to a revision that etcd has was told. Raises StoreUnavailable if that takes too long.

        The first call, before `begun`, waits until there is a watch.
        """
        if revision <= self.revision and self._has_begun:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, waiter))
        timer = self._clock.call_later(REACH_TIMEOUT_S, lambda: self._give_up(revision, waiter))
        try:
            await waiter
        finally:
            timer.cancel()

    def note_compaction(self, revision: Revision) -> None:
        """Remember that history before `revision` is or is about to be forgotten."""
        self.compacted = max(self.compacted, revision)

    def begin_again(self) -> None:
        """Drop what is known: etcd is not what it was, because it was put back to an older state."""
        self._has_lost = True
        if self._watching is not None:
            self._watching.cancel()

    def _give_up(self, revision: Revision, waiter: asyncio.Future[None]) -> None:
        """The watch hangs: fail who waits, and go on with another member."""
        if waiter.done():
            return
        why = f": {self._last_error}" if self._last_error else ""
        waiter.set_exception(
            StoreUnavailable(f"the watch on etcd is at revision {self.revision} and does not come to {revision}{why}")
        )
        self._client.leave()
        if self._watching is not None:
            self._watching.cancel()

    def _wake(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for revision, waiter in waiting:
            if waiter.done():
                continue
            if revision <= self.revision:
                waiter.set_result(None)
            else:
                self._waiting.append((revision, waiter))

    def _keep(self, changes: Sequence[Change]) -> None:
        past = self._past
        for change in changes:
            past.append(change)
            self._past_bytes += len(change.value or b"")
        while past and (len(past) > PAST_CHANGES or self._past_bytes > PAST_BYTES):
            dropped = past.popleft()
            self._past_bytes -= len(dropped.value or b"")
            self._past_start = dropped.revision

    def _read(self, events: Sequence[Any], after: Revision) -> tuple[Sequence[Change], Revision]:
        changes: list[Change] = []
        last = after
        for event in events:
            pair = event.kv
            revision = pair.mod_revision
            if revision <= after:
                continue
            if revision > last + 1:
                raise Compacted(Revision(revision))
            last = revision
            key = self._keys.decode(pair.key)
            if key is None:
                if pair.key == COMPACTION and pair.value.isdigit():
                    self.note_compaction(Revision(int(pair.value)))
                continue
            is_deletion = event.type == DELETE
            previous = event.prev_kv.mod_revision
            if not previous and (is_deletion or pair.version > 1):
                raise Compacted(Revision(revision))
            changes.append(Change(key, revision, None if is_deletion else pair.value, Revision(previous or ABSENT)))
        return changes, Revision(last)
