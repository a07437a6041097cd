"""A kind at one of its versions, as requests address it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import orjson

from pilothouse.api.apply.resets import resets_of
from pilothouse.api.apply.tracking import Tracker, Versions
from pilothouse.api.apply.versions import BuiltIn
from pilothouse.api.field_selector import FieldSelector
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource, Subresource
from pilothouse.api.schema import Schema, schema_of
from pilothouse.apiserver.decode import check_identity
from pilothouse.apiserver.field_labels import check_selectable
from pilothouse.apiserver.metrics.events import SentEvents
from pilothouse.apiserver.negotiate import ACCEPTED, ANYTHING, PLAIN, STREAMED, Output, negotiate
from pilothouse.apiserver.registry import Registry
from pilothouse.store.cached import Cached
from pilothouse.store.cacher import Cacher
from pilothouse.store.event import Encoder

T = TypeVar("T")


class Endpoint:
    """Where requests for one group, version and plural end. What clients see is of `gvr`; what is stored of `resource.gvr`."""

    def __init__(self, resource: Resource, gvr: GVR, open_registry: Callable[[], Awaitable[Registry]]) -> None:
        self.resource = resource
        self.gvr = gvr
        self.verbs = frozenset(resource.verbs)
        self.subresources: Mapping[str, Subresource] = {sub.name: sub for sub in resource.subresources}
        self.is_converted = gvr != resource.gvr
        self.asks = False
        """Whether objects at other versions have to be asked for, in `settled`."""
        self.is_custom = not resource.merges_strategically
        self.encoders: dict[object, Encoder] = {}
        """Encoders of watches by the form they write: shared, so that an event is encoded once for all who want the same."""
        self.series: dict[object, object] = {}
        """What requests are counted by."""
        self.sent = SentEvents()
        """Of watches."""
        self._open_registry = open_registry
        self._registry: Registry | None = None
        self._trackers: dict[str, Tracker] = {}

    def output(self, accept: str, subresource: Subresource | None = None, *, is_watchable: bool = False) -> Output:
        """What form an answer takes, of the kind itself or of what a subresource speaks. Raises NotAcceptable."""
        if accept in ANYTHING:
            return PLAIN
        if "protobuf" not in accept:
            return negotiate(accept, True, self._on_offer(is_watchable))
        has_message = (self if subresource is None else self.of(subresource))._has_message
        return negotiate(accept, has_message, self._on_offer(is_watchable))

    def _on_offer(self, is_watchable: bool) -> tuple[str, ...]:
        """What upstream's router says that there is. It does not know of custom kinds."""
        if self.is_custom:
            return ()
        return (*ACCEPTED, *STREAMED) if is_watchable else ACCEPTED

    @cached_property
    def _has_message(self) -> bool:
        from pilothouse.api.codec.errors import UnknownMessage
        from pilothouse.api.codec.messages import message_name

        try:
            message_name(self.gvr.api_version, self.gvr.kind)
        except UnknownMessage:
            return False
        return True

    def of(self, subresource: Subresource) -> Endpoint:
        """The endpoint of what a subresource speaks, which is not stored."""
        if not subresource.kind:
            return self
        gvr = GVR(subresource.group, subresource.version, self.gvr.plural, subresource.kind, self.gvr.namespaced)
        return Endpoint(Resource(gvr), gvr, self._open_registry)

    async def registry(self) -> Registry:
        """The registry of the kind, opened when first asked for."""
        if self._registry is None:
            self._registry = await self._open_registry()
        return self._registry

    def identify(self, obj: Object, body: bytes = b"") -> None:
        """Check what an object says that it is; fill in what it leaves out. `body` is what it was read from; a patch has none.

        Raises BadRequest, Invalid.
        """
        check_identity(obj, self.gvr, body)

    def check_selectable(self, fields: FieldSelector | None) -> None:
        """Raises BadRequest for a field that objects of this version cannot be selected by."""
        check_selectable(self.gvr, self.resource.selectable, fields)

    async def cacher(self) -> Cacher:
        """What lists and watches are answered from; `wire` and `from_stored` take what it holds."""
        return (await self.registry()).cacher

    async def answered(self, wire: bytes) -> bytes:
        """A stored object in wire form, as `wire` takes it: a kind that is converted elsewhere asks there. Raises StatusError."""
        return wire

    async def loaded(self, cached: Cached) -> Object:
        """A stored object in the version that the client addressed. Raises StatusError."""
        return self.from_stored(cached.object())

    async def settled(self, work: Callable[[], T]) -> T:
        """The outcome of `work`, which may need objects at other versions, and may be called more than once. Raises StatusError."""
        return work()

    @property
    def opened(self) -> Cacher | None:
        """What holds the stored objects; None before the first request for them."""
        return None if self._registry is None else self._registry.cacher

    @cached_property
    def schema(self) -> Schema:
        """Of what clients send."""
        return schema_of(self.gvr.api_version, self.gvr.kind)

    def owned_versions(self) -> Versions:
        """The versions in whose fields ownership may be told."""
        return BuiltIn((self.resource.gvr, *self.resource.other_versions, self.gvr))

    def tracker(self, subresource: str) -> Tracker:
        """Keeps the ownership of fields for writes through a subresource; empty: of the object itself."""
        tracker = self._trackers.get(subresource)
        if tracker is None:
            tracker = self._trackers[subresource] = Tracker(
                self.gvr,
                self.owned_versions(),
                self.schema.empty(),
                subresource=subresource,
                resets=resets_of(self.resource, subresource),
            )
        return tracker

    def to_stored(self, obj: Object, like: Mapping[str, Any] | None = None) -> Object:
        """An object of a client in the version that is stored, with its defaults; `like` has them already."""
        self.schema.default(obj, like=like)
        if self.is_converted:
            from pilothouse.api.convert import convert

            obj = convert(obj, self.gvr, self.resource.gvr)
            schema_of(self.resource.gvr.api_version, self.resource.gvr.kind).default(obj)
        self.resource.default(obj)
        return obj

    def from_stored(self, obj: Object) -> Object:
        """A stored object in the version that the client addressed."""
        if self.is_converted:
            from pilothouse.api.convert import convert

            return convert(obj, self.resource.gvr, self.gvr)
        return obj

    def wire(self, stored: bytes) -> bytes:
        """The same for bytes in wire form."""
        return orjson.dumps(self.from_stored(orjson.loads(stored))) if self.is_converted else stored
