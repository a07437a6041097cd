"""The objects of one namespace, by name and in the order of names."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.store.cached import Cached
from pilothouse.store.order import Order


class Shelf:
    """Objects by name."""

    __slots__ = ("_names", "items")

    def __init__(self) -> None:
        self.items: dict[str, Cached] = {}
        self._names = Order()

    def put(self, cached: Cached) -> None:
        """Add an object, or replace the one of its name."""
        if cached.name not in self.items:
            self._names.add(cached.name)
        self.items[cached.name] = cached

    def remove(self, name: str) -> None:
        del self.items[name]
        self._names.remove(name)

    def ordered(self, after: str = "") -> Iterator[Cached]:
        """The objects whose name is greater than `after`, in order. To be read before the next change."""
        return map(self.items.__getitem__, self._names.after(after))

    def count(self, after: str = "") -> int:
        """How many `ordered` gives."""
        return len(self._names.after(after)) if after else len(self.items)
