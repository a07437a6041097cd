"""The state of a local store, without its values: where every key stands, what came before, what will expire.

Everything that a local store decides, it decides here, in memory and synchronously; the log only keeps rows. A batch of writes is
decided against the durable state and against those before it in the batch, logged, and applied once it is durable.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pilothouse.store.base import ABSENT, Change, Compacted, FutureRevision, Revision, WriteConflict
from pilothouse.store.history import History, Past
from pilothouse.store.order import Order

FIRST_REVISION = Revision(1)
"""The revision of a store in which nothing was written yet; 0 means "any" in Kubernetes."""


class Row(NamedTuple):
    """One write as it is logged. `value` is None for a deletion; `expires` is seconds since the epoch."""

    revision: Revision
    key: str
    previous: Revision
    expires: float | None
    value: bytes | None


class Header(NamedTuple):
    """A logged write without its value."""

    revision: Revision
    key: str
    previous: Revision
    expires: float | None
    is_deletion: bool


class Request(NamedTuple):
    """A write that somebody asks for; the same fields as in `Store.put`, with `value` None for a deletion."""

    key: str
    value: bytes | None
    expect: Revision | None
    expires: float | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What becomes of some requests: the rows to log, and for each request its revision or why it is refused."""

    rows: Sequence[Row]
    outcomes: Sequence[Revision | WriteConflict]


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self._heads: dict[str, Revision] = {}
        self._keys = Order()
        self._history = History(FIRST_REVISION)
        self._expiries: list[tuple[float, Revision, str]] = []

    def load(self, headers: Iterable[Header], compacted: Revision, now: float) -> list[Revision]:
        """Take over a log, in order of revisions, and return the revisions whose values nobody needs."""
        self._history = History(max(compacted, FIRST_REVISION))
        compacted = self._history.compacted
        heads = self._heads
        garbage: list[Revision] = []
        for revision, key, previous, expires, is_deletion in headers:
            replaced = heads.pop(key, None)
            if revision > compacted:
                self._history.append(Past(revision, key, previous, is_deletion, now))
            elif replaced is not None:
                garbage.append(replaced)
            if not is_deletion:
                heads[key] = revision
                if expires is not None:
                    self._expiries.append((expires, revision, key))
            elif revision <= compacted:
                garbage.append(revision)
            self.revision = revision
        for key in heads:
            self._keys.add(key)
        heapq.heapify(self._expiries)
        self.revision = max(self.revision, compacted)
        return garbage

    def decide(self, requests: Iterable[Request]) -> Batch:
        """What becomes of `requests`, in order. Changes nothing."""
        heads = self._heads
        revision = self.revision
        changed: dict[str, Revision] = {}
        rows: list[Row] = []
        outcomes: list[Revision | WriteConflict] = []
        for key, value, expect, expires in requests:
            current = changed.get(key)
            if current is None:
                current = heads.get(key, ABSENT)
            if (expect is not None and expect != current) or (value is None and current == ABSENT):
                outcomes.append(WriteConflict(key, current))
                continue
            revision = Revision(revision + 1)
            rows.append(Row(revision, key, current, expires, value))
            changed[key] = revision if value is not None else ABSENT
            outcomes.append(revision)
        return Batch(rows, outcomes)

    def apply(self, rows: Sequence[Row], now: float) -> list[Change]:
        """Take over rows that are durable now, and return them as changes."""
        heads, keys, history = self._heads, self._keys, self._history
        changes: list[Change] = []
        for revision, key, previous, expires, value in rows:
            if value is None:
                del heads[key]
                keys.remove(key)
            else:
                heads[key] = revision
                if previous == ABSENT:
                    keys.add(key)
                if expires is not None:
                    heapq.heappush(self._expiries, (expires, revision, key))
            history.append(Past(revision, key, previous, value is None, now))
            changes.append(Change(key, revision, value, previous))
        if rows:
            self.revision = rows[-1].revision
        return changes

    # Reading

    @property
    def compacted(self) -> Revision:
        return self._history.compacted

    def head(self, key: str) -> Revision | None:
        return self._heads.get(key)

    def page(
        self, prefix: str, after: str, limit: int, at: Revision | None
    ) -> tuple[Sequence[tuple[str, Revision]], Revision, int]:
        """The keys and revisions of a page, the revision of the whole and how many entries follow. Raises like `Store.list`."""
        revision = self.revision if at is None else at
        self.check(revision)
        heads = self._heads
        later = self.since(prefix, revision) if revision != self.revision else ()
        if not later:
            keys = self._keys.prefixed(prefix, after)
            page = [(key, heads[key]) for key in (keys[:limit] if limit else keys)]
            return page, revision, len(keys) - len(page)
        state = {key: heads[key] for key in self._keys.prefixed(prefix, after)}
        for write in reversed(later):
            if write.key > after:
                if write.previous == ABSENT:
                    state.pop(write.key, None)
                else:
                    state[write.key] = write.previous
        entries = sorted(state.items())
        page = entries[:limit] if limit else entries
        return page, revision, len(entries) - len(page)

    def since(self, prefix: str, after: Revision) -> list[Past]:
        """The writes under `prefix` after a revision. Raises Compacted, FutureRevision."""
        self.check(after)
        return [write for write in self._history.since(after) if write.key.startswith(prefix)]

    def check(self, revision: Revision) -> None:
        """Raises Compacted or FutureRevision unless the state at `revision` is known."""
        if revision < self._history.compacted:
            raise Compacted(self._history.compacted)
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)

    # Forgetting

    def forget(self, upto: Revision) -> list[Revision]:
        """Forget the past up to a revision, and return the revisions whose values can be deleted."""
        return self._history.forget(upto)

    def forget_old(self, before: float, keep: int) -> list[Revision]:
        """The same by age (monotonic time) and number."""
        return self._history.forget(self._history.expired(before, keep))

    def oldest_at(self) -> float | None:
        """When the oldest write that is not forgotten was made (monotonic time), or None if there is none."""
        return self._history.oldest_at()

    def next_expiry(self) -> float | None:
        """When the next key expires (seconds since the epoch), or None."""
        expiries = self._expiries
        while expiries and self._heads.get(expiries[0][2]) != expiries[0][1]:
            heapq.heappop(expiries)
        return expiries[0][0] if expiries else None

    def take_expired(self, now: float, limit: int) -> list[tuple[str, Revision]]:
        """Up to `limit` keys that have expired and at which revision. Each is given once."""
        taken: list[tuple[str, Revision]] = []
        while len(taken) < limit and (next_expiry := self.next_expiry()) is not None and next_expiry <= now:
            _, revision, key = heapq.heappop(self._expiries)
            taken.append((key, revision))
        return taken

    def return_expired(self, keys: Iterable[tuple[str, Revision]], expires: float) -> None:
        """Let keys that could not be deleted expire again at `expires`."""
        for key, revision in keys:
            heapq.heappush(self._expiries, (expires, revision, key))
