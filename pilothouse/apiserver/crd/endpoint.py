"""A custom kind at one version, as requests address it.

What is stored may have been written at another version or under an earlier schema: it is read as the present schema of the version it
was stored at would have it, then at the version that is asked for. Objects that were written since the schema came are as they
should be, and go out as the bytes they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

import orjson

from pilothouse.api.apply.nodes import StructNode, struct_node
from pilothouse.api.apply.tracking import Versions
from pilothouse.api.meta import Object
from pilothouse.api.schema import Schema
from pilothouse.apiserver.crd.kinds import CustomKind
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.registry import Registry
from pilothouse.store.cached import Cached


class CustomEndpoint(Endpoint):
    """`versions` are all kinds of the definition."""

    def __init__(
        self,
        kind: CustomKind,
        versions: Mapping[str, CustomKind],
        open_registry: Callable[[], Awaitable[Registry]],
    ) -> None:
        super().__init__(kind.resource, kind.resource.gvr, open_registry)
        self.kind = kind
        self.is_converted = True
        self._versions = versions
        self._since = kind.since
        self._fresh_start = f'{{"kind":"{self.gvr.kind}","apiVersion":"{self.gvr.api_version}","metadata":{{"resourceVersion":"'.encode()

    @cached_property
    def schema(self) -> Schema:
        return self.kind.schema

    def owned_versions(self) -> Versions:
        return CustomVersions(self._versions)

    def to_stored(self, obj: Object, like: Mapping[str, Any] | None = None) -> Object:
        """A client's object with its defaults; the registry works at the version that is addressed."""
        self.schema.default(obj)
        return obj

    def from_stored(self, obj: Object) -> Object:
        stored = self._versions.get(obj["apiVersion"].rpartition("/")[2])
        if stored is not None:
            obj = stored.schema.upgrade(obj)
        obj["apiVersion"] = self.gvr.api_version
        obj["kind"] = self.gvr.kind
        return obj

    def read(self, cached: Cached) -> Object:
        """A stored object as this version's registry works on it."""
        return cached.object() if self._is_fresh(cached.wire) else self.from_stored(cached.object())

    def wire(self, stored: bytes) -> bytes:
        return stored if self._is_fresh(stored) else orjson.dumps(self.from_stored(orjson.loads(stored)))

    def _is_fresh(self, wire: bytes) -> bool:
        start = self._fresh_start
        if not wire.startswith(start):
            return False
        return int(wire[len(start) : wire.index(b'"', len(start))]) > self._since


class CustomVersions:
    """The versions of a custom kind, as tracking sees them."""

    def __init__(self, versions: Mapping[str, CustomKind]) -> None:
        self._versions = versions

    def node(self, version: str) -> StructNode | None:
        kind = self._versions.get(version.rpartition("/")[2])
        return None if kind is None or not kind.is_served else struct_node(kind.schema.struct)

    def convert(self, obj: Object, source: str, target: str) -> Object:
        return {**obj, "apiVersion": target}
