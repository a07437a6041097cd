"""All objects of one resource as they are now: found by name, walked in key order, looked up by label or field.

Positions in the order are `namespace/name`, or `name` for cluster-scoped resources: the key without the resource's prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter

from pilothouse.store.cached import Cached
from pilothouse.store.index import Index
from pilothouse.store.selection import SelectableFields, Selection
from pilothouse.store.shelf import Shelf

_MAX_INDEXES = 8
_INDEX_FROM = 64
"""Fewer objects are scanned rather than indexed."""

by_key = attrgetter("key")
"""Sorts objects in the order of the store."""


class Catalog:
    """Objects by namespace and name. Iterators must be read before the next change."""

    def __init__(self, prefix: str, fields: SelectableFields, *, is_namespaced: bool) -> None:
        self.prefix = prefix
        self._fields = fields
        self._is_namespaced = is_namespaced
        self._shelves: dict[str, Shelf] = {}
        self._count = 0
        self._indexes: dict[tuple[str, str | int], Index] = {}
        """Made when a selector first wants them; the one that was not wanted for longest goes when there are too many."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Cached]:
        return self.after("")

    def split(self, key: str) -> tuple[str, str]:
        """The namespace and name of a store key of this resource."""
        rest = key[len(self.prefix) :]
        if not self._is_namespaced:
            return "", rest
        namespace, _, name = rest.partition("/")
        return namespace, name

    def get(self, namespace: str, name: str) -> Cached | None:
        shelf = self._shelves.get(namespace)
        return None if shelf is None else shelf.items.get(name)

    def replace(self, old: Cached | None, new: Cached | None) -> None:
        """Put `new` in the place of `old`, which must be there; None stands for an object that does not exist."""
        if new is not None:
            shelf = self._shelves.get(new.namespace)
            if shelf is None:
                shelf = self._shelves[new.namespace] = Shelf()
            shelf.put(new)
            self._count += old is None
        elif old is not None:
            shelf = self._shelves[old.namespace]
            shelf.remove(old.name)
            self._count -= 1
            if not shelf.items:
                del self._shelves[old.namespace]
        for index in self._indexes.values():
            index.replace(old, new)

    def after(self, position: str) -> Iterator[Cached]:
        """Everything after a position, in order."""
        return chain.from_iterable(shelf.ordered(name) for shelf, name in self._shelves_after(position))

    def within(self, namespace: str, position: str) -> Iterator[Cached]:
        """Everything after a position in a namespace, or in all if it is empty, in order."""
        if not namespace:
            return self.after(position)
        shelf, name = self._shelves.get(namespace), self._name_after(namespace, position)
        return iter(()) if shelf is None or name is None else shelf.ordered(name)

    def count_after(self, namespace: str, position: str) -> int:
        """How many objects there are after a position in a namespace, or in all if it is empty."""
        if not namespace:
            return sum(shelf.count(name) for shelf, name in self._shelves_after(position))
        shelf, name = self._shelves.get(namespace), self._name_after(namespace, position)
        return 0 if shelf is None or name is None else shelf.count(name)

    def select(self, selection: Selection, position: str = "") -> Iterable[Cached]:
        """What is selected after a position, in order."""
        candidates = self._named(selection) if selection.name else self._indexed(selection)
        if candidates is not None:
            namespace, start = selection.namespace, self.prefix + position
            if not selection.is_single:
                candidates = filter(selection.matches, candidates)
            elif namespace:
                candidates = [cached for cached in candidates if cached.namespace == namespace]
            found = [cached for cached in candidates if cached.key > start] if position else list(candidates)
            found.sort(key=by_key)
            return found
        items = self.within(selection.namespace, position)
        return items if selection.is_everything else filter(selection.matches, items)

    def _shelves_after(self, position: str) -> Iterator[tuple[Shelf, str]]:
        """The shelves in order that hold anything after a position, and after which name in each."""
        for namespace in sorted(self._shelves, key=_with_slash):
            name = self._name_after(namespace, position)
            if name is not None:
                yield self._shelves[namespace], name

    def _name_after(self, namespace: str, position: str) -> str | None:
        """A position as a name in a namespace: empty if all of the namespace comes after it, None if nothing does."""
        if not self._is_namespaced or not position:
            return position
        own = _with_slash(namespace)
        if position.startswith(own):
            return position[len(own) :]
        return "" if own > position else None

    def _named(self, selection: Selection) -> Iterable[Cached]:
        namespaces = (selection.namespace,) if selection.namespace else tuple(self._shelves)
        found = (self.get(namespace, selection.name) for namespace in namespaces)
        return (cached for cached in found if cached is not None)

    def _indexed(self, selection: Selection) -> Iterable[Cached] | None:
        """The objects that one exact requirement of the selection leaves, or None if it has none worth an index."""
        if self._count < _INDEX_FROM:
            return None
        if selection.trigger is not None:
            position, value = selection.trigger
            return self._index(("field", position), self._field_reader(position)).get(value).values()
        if selection.labels is not None:
            for requirement in selection.labels.requirements:
                label = requirement.key
                wanted = selection.labels.exact_value(label)
                if wanted is not None:
                    return self._index(("label", label), _label_reader(label)).get(wanted).values()
        return None

    def _index(self, name: tuple[str, str | int], extract: Callable[[Cached], str | None]) -> Index:
        index = self._indexes.pop(name, None)
        if index is None:
            if len(self._indexes) >= _MAX_INDEXES:
                del self._indexes[next(iter(self._indexes))]
            index = Index(extract, self)
        self._indexes[name] = index
        return index

    def _field_reader(self, position: int) -> Callable[[Cached], str | None]:
        return lambda cached: self._fields.values(cached)[position]


def _label_reader(label: str) -> Callable[[Cached], str | None]:
    return lambda cached: cached.labels.get(label)


def _with_slash(namespace: str) -> str:
    return namespace + "/"
