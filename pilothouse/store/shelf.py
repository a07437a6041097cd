"""The objects of one namespace, by name and in the order of names.

Writes only note what came and went; the order is brought up to date when somebody lists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from pilothouse.store.cached import Cached

_FEW = 64
"""Up to so many new names are put in their place one by one; more are sorted in together."""


class Shelf:
    """Objects by name."""

    __slots__ = ("_names", "_new", "items")

    def __init__(self) -> None:
        self.items: dict[str, Cached] = {}
        self._names: list[str] = []
        self._new: set[str] = set()
        """Names in `items` that are not in `_names` yet."""

    def put(self, cached: Cached) -> None:
        name = cached.name
        if name not in self.items:
            self._new.add(name)
        self.items[name] = cached

    def remove(self, name: str) -> None:
        del self.items[name]
        if name in self._new:
            self._new.discard(name)
        else:
            position = bisect_left(self._names, name)
            del self._names[position]

    def names(self, after: str = "") -> Sequence[str]:
        """The names greater than `after`, in order; not to be changed."""
        if self._new:
            if len(self._new) <= _FEW:
                for name in self._new:
                    insort(self._names, name)
            else:
                self._names.extend(self._new)
                self._names.sort()
            self._new.clear()
        return self._names[bisect_right(self._names, after) :] if after else self._names

    def ordered(self, after: str = "") -> list[Cached]:
        """The objects whose name is greater than `after`, in order."""
        return list(map(self.items.__getitem__, self.names(after)))
