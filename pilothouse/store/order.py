"""Strings in order, cheap to add to: additions are only noted, and sorted in when somebody reads."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

_FEW = 64
"""Up to so many additions are put in their place one by one; more are sorted in together."""


class Order:
    """A sorted set of strings."""

    __slots__ = ("_added", "_sorted")

    def __init__(self) -> None:
        self._sorted: list[str] = []
        self._added: set[str] = set()

    def add(self, text: str) -> None:
        """Add `text`, which must not be there."""
        self._added.add(text)

    def remove(self, text: str) -> None:
        """Remove `text`, which must be there."""
        if text in self._added:
            self._added.discard(text)
        else:
            del self._sorted[bisect_left(self._sorted, text)]

    def after(self, text: str) -> Sequence[str]:
        """All that are greater than `text`, in order. Not to be changed, nor to be kept over a change of the set."""
        self._sort()
        return self._sorted[bisect_right(self._sorted, text) :] if text else self._sorted

    def prefixed(self, prefix: str, after: str = "") -> Sequence[str]:
        """All that start with `prefix` and are greater than `after`, in order."""
        self._sort()
        start = max(bisect_left(self._sorted, prefix), bisect_right(self._sorted, after))
        return self._sorted[start : bisect_left(self._sorted, _next(prefix), start) if prefix else None]

    def _sort(self) -> None:
        if not self._added:
            return
        if len(self._added) <= _FEW:
            for text in self._added:
                insort(self._sorted, text)
        else:
            self._sorted.extend(self._added)
            self._sorted.sort()
        self._added.clear()


def _next(prefix: str) -> str:
    """The least string greater than all that start with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
