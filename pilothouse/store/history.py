"""The recent past of a store: which write replaced which.

It tells what a listing looked like at an earlier revision and which writes a watch has missed, and, as it is forgotten, which old
values nobody can ask for any more. It holds no values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from pilothouse.store.base import ABSENT, Revision


class Past(NamedTuple):
    """One write: `previous` is the key's revision before it; `at` is when it was made, on the clock's monotonic time."""

    revision: Revision
    key: str
    previous: Revision
    is_deletion: bool
    at: float


class History:
    """The writes after `compacted`, in order."""

    def __init__(self, compacted: Revision) -> None:
        self.compacted = compacted
        """The past before this revision is forgotten; the state at it is the oldest that can still be told."""
        self._writes: list[Past] = []
        self._first = 0

    def __len__(self) -> int:
        return len(self._writes) - self._first

    def append(self, write: Past) -> None:
        self._writes.append(write)

    def since(self, revision: Revision) -> Sequence[Past]:
        """The writes after `revision`, which must not be before `compacted`."""
        return self._writes[bisect_right(self._writes, revision, lo=self._first, key=_revision_of) :]

    def expired(self, before: float, keep: int) -> Revision:
        """The revision up to which writes were made before `before` or are more than the last `keep`."""
        position = self._first
        end = len(self._writes)
        while position < end and (self._writes[position].at < before or end - position > keep):
            position += 1
        return self._writes[position - 1].revision if position > self._first else self.compacted

    def forget(self, upto: Revision) -> list[Revision]:
        """Forget the writes up to a revision, and return the revisions whose values can be deleted."""
        garbage: list[Revision] = []
        end = len(self._writes)
        while self._first < end and self._writes[self._first].revision <= upto:
            write = self._writes[self._first]
            if write.previous != ABSENT:
                garbage.append(write.previous)
            if write.is_deletion:
                garbage.append(write.revision)
            self._first += 1
        self.compacted = max(self.compacted, upto)
        if self._first * 2 > len(self._writes):
            del self._writes[: self._first]
            self._first = 0
        return garbage

    def oldest_at(self) -> float | None:
        """When the oldest write was made, or None if there is none."""
        return self._writes[self._first].at if len(self) else None


def _revision_of(write: Past) -> Revision:
    return write.revision
