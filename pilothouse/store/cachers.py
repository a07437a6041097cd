"""The watch caches of all resources, and which store has the objects of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from pilothouse.api.resource import Resource
from pilothouse.kit.clock import Clock
from pilothouse.store.base import Store, prefix_of
from pilothouse.store.cacher import Cacher


class Cachers:
    """The cachers of a store, each made when its resource is first used and kept from then on.

    `others` are stores of some resources' own, by their prefix.
    """

    def __init__(self, store: Store, clock: Clock, others: Mapping[str, Store] | None = None) -> None:
        self.store = store
        self._others = others or {}
        self._clock = clock
        self._cachers: dict[str, Cacher] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def of(self, resource: Resource) -> Cacher:
        """The cacher of `resource`. Raises StoreUnavailable."""
        prefix = prefix_of(resource.gvr)
        cacher = self._cachers.get(prefix)
        if cacher is not None:
            return cacher
        async with self._opening.setdefault(prefix, asyncio.Lock()):
            cacher = self._cachers.get(prefix)
            if cacher is None:
                cacher = self._cachers[prefix] = await Cacher.open(self.store_of(resource), resource, self._clock)
            return cacher

    def store_of(self, resource: Resource) -> Store:
        """Where the objects of `resource` are."""
        return self._others.get(prefix_of(resource.gvr), self.store)

    def opened(self) -> Sequence[Cacher]:
        """Those that there are."""
        return tuple(self._cachers.values())

    def drop(self, resource: Resource) -> None:
        """Forget a resource that is no longer served, and end its watches."""
        cacher = self._cachers.pop(prefix_of(resource.gvr), None)
        if cacher is not None:
            cacher.close()

    def close(self) -> None:
        """End all watches."""
        for cacher in self._cachers.values():
            cacher.close()
        self._cachers.clear()
