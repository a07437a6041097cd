"""A store that lives and dies with its process: for tests and for clusters inside a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.kit.clock import Clock
from pilothouse.store.base import Revision
from pilothouse.store.ledger import FIRST_REVISION, Header, Row
from pilothouse.store.local import HISTORY_S, LocalStore
from pilothouse.store.log import Done

HISTORY_WRITES = 5_000
"""Fewer than on disk: here the past costs memory."""


class MemoryLog:
    """Values by revision: copies, because an encoder's buffer often holds on to far more memory than its text needs."""

    is_instant = True

    def __init__(self) -> None:
        self._values: dict[Revision, bytes] = {}

    def load(self) -> tuple[Iterable[Header], Revision]:
        return (), FIRST_REVISION

    def write(self, rows: Sequence[Row], garbage: Sequence[Revision], compacted: Revision, done: Done) -> None:
        for row in rows:
            if row.value is not None:
                self._values[row.revision] = bytes(memoryview(row.value))
        for revision in garbage:
            self._values.pop(revision, None)
        done(None)

    async def read(self, revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        values = self._values
        return {revision: values[revision] for revision in revisions if revision in values}

    async def close(self) -> None:
        self._values.clear()


class MemoryStore(LocalStore):
    """A Store in memory. Writes finish without waiting."""

    def __init__(self, clock: Clock, *, history_s: float = HISTORY_S, history_writes: int = HISTORY_WRITES) -> None:
        super().__init__(MemoryLog(), clock, history_s=history_s, history_writes=history_writes)
