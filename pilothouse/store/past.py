"""The objects of a resource as they were, made from those of now by undoing what happened since.

It costs what happened and what is read, not what there is: a page of a large collection stays cheap while others write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge

from pilothouse.store.cached import Cached
from pilothouse.store.catalog import Catalog, by_key
from pilothouse.store.event import Event


class Past:
    """What was in a namespace (or in all, if it is empty) after a position. To be read before the catalog's next change."""

    def __init__(self, objects: Catalog, events: Sequence[Event], namespace: str, position: str) -> None:
        self._objects = objects
        self._namespace = namespace
        self._position = position
        self._before: dict[str, Cached | None] = {}
        """What changed since, as it was; None where nothing was."""
        start = objects.prefix + position
        for event in reversed(events):
            cached = event.cached
            if cached.key > start and (not namespace or cached.namespace == namespace):
                self._before[cached.key] = event.old
        there = {key for key in self._before if objects.get(*objects.split(key)) is not None}
        self._gone = [old for key, old in self._before.items() if old is not None and key not in there]
        self._came = sum(old is None and key in there for key, old in self._before.items())

    def __iter__(self) -> Iterator[Cached]:
        """In order."""
        present: Iterable[Cached] = self._objects.within(self._namespace, self._position)
        if self._gone:
            self._gone.sort(key=by_key)
            present = merge(present, self._gone, key=by_key)
        before = self._before
        for cached in present:
            was = before.get(cached.key, cached)
            if was is not None:
                yield was

    def __len__(self) -> int:
        return self._objects.count_after(self._namespace, self._position) - self._came + len(self._gone)
