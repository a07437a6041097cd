"""Between the version of a custom kind that is spoken and the one that is stored.

Where they differ in nothing but their name, an object is renamed and keeps what the other schema knows; where a definition has a
conversion webhook, that is asked. Objects are read as the schema of the version they were stored at has them, with its defaults, before
they are converted. Source: apiextensions-apiserver `pkg/apiserver/customresource_handler.go` (`crdConversionRESTOptionsGetter`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from pilothouse.api.apply.structs import StructNode, struct_node
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.view import json_copy
from pilothouse.apiserver.crd.conversion import Conversion
from pilothouse.apiserver.crd.kinds import CustomKind
from pilothouse.store.cached import Cached


class Kinds:
    """All versions of a definition."""

    def __init__(self, kinds: Mapping[str, CustomKind]) -> None:
        self.by_version = kinds

    def of(self, api_version: str) -> CustomKind | None:
        return self.by_version.get(api_version.rpartition("/")[2])

    def upgraded(self, obj: Object) -> Object:
        """A stored object as the present schema of its version has it."""
        kind = self.of(obj["apiVersion"])
        return obj if kind is None else kind.schema.upgrade(obj)

    def renamed(self, obj: Object, gvr: GVR) -> Object:
        """An object that is at another version, at version `gvr` with what this knows; changed in place."""
        if obj.get("apiVersion") != gvr.api_version or obj.get("kind") != gvr.kind:
            obj["apiVersion"], obj["kind"] = gvr.api_version, gvr.kind
            self.prune(obj)
        return obj

    def prune(self, obj: Object) -> Object:
        """Without what the schema of its version does not know; in place."""
        kind = self.of(obj["apiVersion"])
        if kind is not None:
            kind.schema.reduce(obj)
        return obj


class Renaming:
    """For a version that is not the stored one, of a definition without a webhook."""

    def __init__(self, kinds: Kinds, spoken: GVR, stored: GVR) -> None:
        self._kinds = kinds
        self._spoken = spoken
        self._stored = stored

    async def read(self, cached: Cached) -> Object:
        return self._kinds.renamed(self._kinds.upgraded(cached.object()), self._spoken)

    async def stored(self, obj: Object) -> Object:
        return self._kinds.renamed(json_copy(obj), self._stored)

    async def at(self, obj: Object, gvr: GVR) -> Object:
        return self._kinds.renamed(json_copy(obj), gvr)


class Converting:
    """For every version of a definition with a webhook: objects may be stored at any."""

    def __init__(self, kinds: Kinds, conversion: Conversion, spoken: GVR, stored: GVR) -> None:
        self.kinds = kinds
        self.spoken = spoken
        self._conversion = conversion
        self._stored = stored

    async def read(self, cached: Cached) -> Object:
        """Raises ConversionFailed, as all methods do."""
        return await self.at(self.kinds.upgraded(cached.object()), self.spoken)

    async def stored(self, obj: Object) -> Object:
        return await self.at(obj, self._stored)

    async def at(self, obj: Object, gvr: GVR) -> Object:
        """An object at another version; the same one if it is at that already."""
        if obj["apiVersion"] == gvr.api_version:
            return obj
        return self.kinds.prune((await self._conversion.convert([obj], gvr.api_version))[0])

    async def wire(self, wire: bytes) -> bytes:
        """A stored object in wire form at the version that is spoken."""
        if wire.startswith(self._start):
            return wire
        return orjson.dumps(await self.at(self.kinds.upgraded(orjson.loads(wire)), self.spoken))

    async def wires(self, wires: Sequence[bytes]) -> list[bytes]:
        """The same for many, whose conversion is one question."""
        asked = {
            index: self.kinds.upgraded(orjson.loads(wire))
            for index, wire in enumerate(wires)
            if not wire.startswith(self._start)
        }
        converted = await self._conversion.convert(list(asked.values()), self.spoken.api_version, is_list=True)
        result = list(wires)
        for index, obj in zip(asked, converted, strict=True):
            result[index] = orjson.dumps(self.kinds.prune(obj))
        return result

    @property
    def _start(self) -> bytes:
        """How a stored object or its wire form begins that is at the spoken version."""
        return f'{{"kind":"{self.spoken.kind}","apiVersion":"{self.spoken.api_version}",'.encode()


class Unconverted(Exception):
    """An object is needed at a version that nobody has asked for yet."""

    def __init__(self, obj: Object, target: str) -> None:
        super().__init__(target)
        self.obj = obj
        self.target = target


class CustomVersions:
    """The versions of a custom kind, as tracking sees them. `converted` are objects that a webhook has converted, by `question`.

    Without it, versions differ in their names only.
    """

    def __init__(self, kinds: Mapping[str, CustomKind], converted: Mapping[bytes, Object] | None = None) -> None:
        self._kinds = kinds
        self._converted = converted

    def node(self, version: str) -> StructNode | None:
        kind = self._kinds.get(version.rpartition("/")[2])
        return None if kind is None or not kind.is_served else struct_node(kind.schema.struct)

    def convert(self, obj: Object, source: str, target: str) -> Object:
        """Raises Unconverted."""
        is_empty = not obj.get("metadata") and not obj.keys() - {"apiVersion", "kind", "metadata"}
        if self._converted is None or is_empty:
            return {**obj, "apiVersion": target}
        found = self._converted.get(question(obj, target))
        if found is None:
            raise Unconverted({**obj, "apiVersion": source}, target)
        return found


def question(obj: Object, target: str) -> bytes:
    """By what a converted object is found again: what it was made from, and for which version."""
    return orjson.dumps([target, {key: value for key, value in obj.items() if key != "apiVersion"}])
