"""Informers that a test fills by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, key_of
from pilothouse.client.informer import Handler


class HandInformer:
    """One collection."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self.synced.set()
        self._objects: dict[str, Object] = {}
        self._handlers: list[Handler] = []

    def get(self, key: str) -> Object | None:
        return self._objects.get(key)

    def list(self) -> list[Object]:
        return list(self._objects.values())

    def subscribe(self, handler: Handler) -> Callable[[], None]:
        self._handlers.append(handler)
        for obj in self._objects.values():
            handler(None, obj)
        return lambda: self._handlers.remove(handler)

    def put(self, obj: Object) -> None:
        old = self._objects.get(key_of(obj))
        self._objects[key_of(obj)] = obj
        for handler in self._handlers:
            handler(old, obj)

    def remove(self, key: str) -> None:
        old = self._objects.pop(key)
        for handler in self._handlers:
            handler(old, None)


class HandInformers:
    """The collections, whatever the selectors."""

    def __init__(self) -> None:
        self._informers: dict[GVR, HandInformer] = {}

    def of(self, gvr: GVR, **_selectors: Any) -> HandInformer:
        return self._informers.setdefault(gvr, HandInformer())
