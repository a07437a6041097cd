"""What authentication, authorization and admission read of the cluster's objects.

They see the API server's own caches, so that a decision costs no request. What they are given belongs to the cache and is never
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, key_of, namespace_of
from pilothouse.api.resource import Resource
from pilothouse.store.base import Revision
from pilothouse.store.cached import Cached
from pilothouse.store.cacher import Cacher
from pilothouse.store.cachers import Cachers

_MAX_DECODED = 1024
_MAX_LISTS = 256
_MAX_LISTED = 32
"""How many objects a list may have that is kept."""
Handler = Callable[[Object | None, Object | None], None]
"""Takes the old and the new object; the new one is None for a deletion, the old one None for what is new."""

Same = Callable[[bytes, bytes], bool]
"""Whether two states of an object, in their wire form, are the same to a handler; empty: it does not exist."""


class Objects(Protocol):
    """Reads of the present state."""

    async def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        """The object, or None if it does not exist. What was acknowledged before the call is never reported missing."""

    async def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        """All objects of a kind, or those of a namespace, as the cache has them at this moment."""

    def subscribe(self, gvr: GVR, handler: Handler, *, unless: Same | None = None) -> None:
        """Call `handler` for everything there is and then for every change, in order, until the server ends.

        Changes for which `unless` holds may be left out: a cheap look at the bytes that saves decoding them.
        """


class CachedObjects:
    """Objects read from the watch caches, which are opened as they are needed.

    An object is decoded once for each state of it that is asked for: the last decoded state is kept by key. So are short lists, which
    every write of a pod asks for, such as that of all PriorityClasses.
    """

    def __init__(self, cachers: Cachers, resource_of: Callable[[GVR], Resource]) -> None:
        self._cachers = cachers
        self._resource_of = resource_of
        self._open: dict[GVR, Cacher] = {}
        self._decoded: dict[str, tuple[Cached, Object]] = {}
        self._lists: dict[tuple[GVR, str], tuple[Revision, Sequence[Object]]] = {}

    async def prepare(self, kinds: Iterable[GVR]) -> None:
        """Open the caches of `kinds`; needed before `subscribe`. Raises StoreUnavailable."""
        for gvr in kinds:
            await self._cacher(gvr)

    async def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        cacher = self._open.get(gvr)
        if cacher is None:
            cacher = await self._cacher(gvr)
        cached = cacher.get(namespace, name)
        if cached is None:
            await cacher.fresh()
            cached = cacher.get(namespace, name)
        return self._decode(cached) if cached is not None else None

    async def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        cacher = self._open.get(gvr)
        if cacher is None:
            cacher = await self._cacher(gvr)
        if not len(cacher):
            return ()
        known = self._lists.get((gvr, namespace))
        if known is not None and known[0] == cacher.changed_at:
            return known[1]
        changed_at = cacher.changed_at
        found = [self._decode(cached) for cached in cacher.list(namespace).items]
        if len(found) <= _MAX_LISTED:
            if len(self._lists) >= _MAX_LISTS:
                self._lists.clear()
            self._lists[gvr, namespace] = changed_at, found
        return found

    def subscribe(self, gvr: GVR, handler: Handler, *, unless: Same | None = None) -> None:
        def changed(old: Cached | None, new: Cached | None) -> None:
            if unless is not None and unless(_wire(old), _wire(new)):
                return
            handler(old.object() if old is not None else None, new.object() if new is not None else None)

        self._open[gvr].subscribe(changed)

    def _decode(self, cached: Cached) -> Object:
        known = self._decoded.get(cached.key)
        if known is not None and known[0] is cached:
            return known[1]
        if len(self._decoded) >= _MAX_DECODED:
            self._decoded.clear()
        obj = cached.object()
        self._decoded[cached.key] = cached, obj
        return obj

    async def _cacher(self, gvr: GVR) -> Cacher:
        cacher = self._open[gvr] = await self._cachers.of(self._resource_of(gvr))
        return cacher


class MemoryObjects:
    """Objects held in a dict: for tests, and for a caller that has the objects anyway."""

    def __init__(self, objects: Iterable[tuple[GVR, Object]] = ()) -> None:
        self._objects: dict[GVR, dict[str, Object]] = {}
        self._handlers: dict[GVR, list[Handler]] = {}
        for gvr, obj in objects:
            self.put(gvr, obj)

    async def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        return self._objects.get(gvr, {}).get(f"{namespace}/{name}" if namespace else name)

    async def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        found = self._objects.get(gvr, {}).values()
        return [obj for obj in found if not namespace or namespace_of(obj) == namespace]

    def subscribe(self, gvr: GVR, handler: Handler, *, unless: Same | None = None) -> None:
        self._handlers.setdefault(gvr, []).append(handler)
        for obj in list(self._objects.get(gvr, {}).values()):
            handler(None, obj)

    def put(self, gvr: GVR, obj: Object) -> None:
        """Store `obj` and tell the subscribers."""
        stored = self._objects.setdefault(gvr, {})
        old, stored[key_of(obj)] = stored.get(key_of(obj)), obj
        self._tell(gvr, old, obj)

    def remove(self, gvr: GVR, obj: Mapping[str, object]) -> None:
        """Forget the object with the namespace and name of `obj` and tell the subscribers."""
        self._tell(gvr, self._objects[gvr].pop(key_of(obj)), None)

    def _tell(self, gvr: GVR, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers.get(gvr, ()):
            handler(old, new)


def _wire(cached: Cached | None) -> bytes:
    return b"" if cached is None else cached.wire
