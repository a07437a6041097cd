"""A custom kind at one version, as requests address it.

What is stored may have been written at another version or under an earlier schema: it is read as the present schema of the version it
was stored at would have it, then at the version that is asked for. Objects that were written since the schema came are as they
should be, and go out as the bytes they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import orjson

from pilothouse.api.apply.tracking import Versions
from pilothouse.api.field_selector import FieldSelector
from pilothouse.api.meta import Object
from pilothouse.api.path import Path, invalid, invalid_object
from pilothouse.api.schema import Schema
from pilothouse.api.status import BadRequest
from pilothouse.apiserver.crd.kinds import CustomKind
from pilothouse.apiserver.crd.translation import Converting, CustomVersions, Kinds, Unconverted, question
from pilothouse.apiserver.decode import unrecognized
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.registry import Registry
from pilothouse.store.cached import Cached
from pilothouse.store.cacher import Cacher
from pilothouse.store.selection import NAME_FIELD, NAMESPACE_FIELD

T = TypeVar("T")
MAX_CONVERTED = 64
"""How many conversions one write may need to settle who owns what; each version with an owner needs two or three."""


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
        self._kinds = Kinds(versions)
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
        return self._kinds.renamed(self._kinds.upgraded(obj), self.gvr)

    def identify(self, obj: Object, body: bytes = b"") -> None:
        """Custom objects are read without their kind being known: what it says is judged with the object, and must be said."""
        kind, api_version = obj.get("kind"), obj.get("apiVersion") or ""
        gvr, metadata = self.gvr, obj.get("metadata")
        name = str((metadata.get("name") or "") if isinstance(metadata, dict) else "")
        if not kind:
            text = body.decode(errors="replace") or orjson.dumps(obj, option=orjson.OPT_SORT_KEYS).decode()
            why = f"Object 'Kind' is missing in '{text}'"
            if body:
                raise unrecognized(gvr.kind, why, body)
            raise invalid_object("", "", "", [invalid(Path("patch"), text, why)])
        if api_version != gvr.api_version:
            if body:
                said = f"does not match the expected API version ({gvr.api_version})"
                raise BadRequest(f"the API version in the data ({api_version}) {said}")
            fault = invalid(Path("apiVersion"), api_version, f"must be {gvr.api_version}")
            raise invalid_object(str(api_version).rpartition("/")[0], str(kind), name, [fault])
        if kind != gvr.kind:
            raise invalid_object(gvr.group, str(kind), name, [invalid(Path("kind"), kind, f"must be {gvr.kind}")])

    def check_selectable(self, fields: FieldSelector | None) -> None:
        for field, _, _ in () if fields is None else fields.requirements:
            known = field in self.resource.selectable or field == NAME_FIELD
            if not known and not (field == NAMESPACE_FIELD and self.gvr.namespaced):
                raise BadRequest(f"field label not supported: {field}")

    def read(self, cached: Cached) -> Object:
        """A stored object as this version's registry works on it."""
        return cached.object() if self._is_fresh(cached.wire) else self.from_stored(cached.object())

    def wire(self, stored: bytes) -> bytes:
        return stored if self._is_fresh(stored) else orjson.dumps(self.from_stored(orjson.loads(stored)))

    def close_view(self) -> None:
        """End what only this version has."""

    def _is_fresh(self, wire: bytes) -> bool:
        start = self._fresh_start
        if not wire.startswith(start):
            return False
        return int(wire[len(start) : wire.index(b'"', len(start))]) > self._since


class ConvertedEndpoint(CustomEndpoint):
    """The same where a webhook converts. `open_view` gives the cacher of the objects at this version.

    None: all are stored at this one.
    """

    def __init__(
        self,
        kind: CustomKind,
        versions: Mapping[str, CustomKind],
        open_registry: Callable[[], Awaitable[Registry]],
        translation: Converting,
        open_view: Callable[[], Awaitable[Cacher]] | None,
    ) -> None:
        super().__init__(kind, versions, open_registry)
        self.asks = True
        self._translation = translation
        self._open_view = open_view
        self._opening = asyncio.Lock()
        self._view: Cacher | None = None
        self._converted: dict[bytes, Object] = {}
        self._settling = 0

    async def cacher(self) -> Cacher:
        """Raises ConversionFailed."""
        if self._open_view is None:
            return (await self.registry()).cacher
        async with self._opening:
            if self._view is None:
                self._view = await self._open_view()
            return self._view

    def close_view(self) -> None:
        """End the watches; who asks next begins anew."""
        view, self._view = self._view, None
        if view is not None:
            view.close()

    async def answered(self, wire: bytes) -> bytes:
        return await self._translation.wire(wire)

    async def loaded(self, cached: Cached) -> Object:
        if cached.wire.startswith(self._fresh_start):
            return self.from_stored(cached.object())
        return await self._translation.read(cached)

    def owned_versions(self) -> Versions:
        return CustomVersions(self._versions, self._converted)

    async def settled(self, work: Callable[[], T]) -> T:
        self._settling += 1
        try:
            return await self._settle(work)
        finally:
            self._settling -= 1
            if not self._settling:
                self._converted.clear()

    async def _settle(self, work: Callable[[], T]) -> T:
        for _ in range(MAX_CONVERTED):
            try:
                return work()
            except Unconverted as missing:
                kind = self._kinds.of(missing.target)
                assert kind is not None
                converted = await self._translation.at(missing.obj, kind.resource.gvr)
                self._converted[question(missing.obj, missing.target)] = converted
        raise AssertionError("unreachable: each conversion is asked for once")
