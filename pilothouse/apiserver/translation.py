"""Between versions of a custom kind: what a registry works on and what the store keeps."""

from __future__ import annotations

from typing import Protocol

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.store.cached import Cached


class Translation(Protocol):
    """Between the version of a registry and the one that is stored, where more than their names differs."""

    async def read(self, cached: Cached) -> Object:
        """A stored object as the registry works on it. Raises StatusError."""

    async def stored(self, obj: Object) -> Object:
        """The way back; may share parts with `obj`."""

    async def at(self, obj: Object, gvr: GVR) -> Object:
        """An object of the registry at another version."""
