"""Which objects have a value: an index over one label or one selectable field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pilothouse.store.cached import Cached

_NONE: Mapping[str, Cached] = {}


class Index:
    """Objects by the value that `extract` reads from them; None is not indexed."""

    __slots__ = ("_by_value", "_extract")

    def __init__(self, extract: Callable[[Cached], str | None], objects: Iterable[Cached]) -> None:
        self._extract = extract
        self._by_value: dict[str, dict[str, Cached]] = {}
        for cached in objects:
            self.replace(None, cached)

    def replace(self, old: Cached | None, new: Cached | None) -> None:
        """Take note that `old` has become `new`."""
        value = None if new is None else self._extract(new)
        if old is not None:
            before = self._extract(old)
            if before is not None and before != value:
                bucket = self._by_value[before]
                del bucket[old.key]
                if not bucket:
                    del self._by_value[before]
        if new is not None and value is not None:
            bucket_of = self._by_value.get(value)
            if bucket_of is None:
                bucket_of = self._by_value[value] = {}
            bucket_of[new.key] = new

    def get(self, value: str) -> Mapping[str, Cached]:
        """The objects with `value`, by store key, in no order."""
        return self._by_value.get(value, _NONE)
