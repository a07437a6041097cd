"""The objects of one namespace, by name and in the order of names."""

from __future__ import annotations

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

    def ordered(self, after: str = "") -> list[Cached]:
        """The objects whose name is greater than `after`, in order."""
        return list(map(self.items.__getitem__, self._names.after(after)))
