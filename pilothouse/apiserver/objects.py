"""What authentication, authorization and admission read of the cluster's objects.

They see the API server's own caches, so that a decision costs no request. What they are given belongs to the cache and is never
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, key_of, namespace_of

Handler = Callable[[Object | None, Object | None], None]
"""Takes the old and the new object; the new one is None for a deletion, the old one None for what is new."""


class Objects(Protocol):
    """Reads of the present state."""

    async def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        """The object as it is now, or None. Never older than a write that was acknowledged before the call."""

    async def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        """All objects of a kind, or those of a namespace."""

    def subscribe(self, gvr: GVR, handler: Handler) -> None:
        """Call `handler` for everything there is and then for every change, in order, until the server ends."""


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

    def subscribe(self, gvr: GVR, handler: Handler) -> None:
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
