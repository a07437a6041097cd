"""Makes the endpoints of a definition: each version with its registry, and with a view of its own where a webhook converts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.status import ServiceUnavailable
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.crd.endpoint import ConvertedEndpoint, CustomEndpoint
from pilothouse.apiserver.crd.kinds import CustomKind
from pilothouse.apiserver.crd.translation import Converting, Kinds, Renaming
from pilothouse.apiserver.lifecycle import Lifecycle
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.webhooks.client import WebhookClient
from pilothouse.kit.clock import Clock
from pilothouse.store.cacher import Cacher

if TYPE_CHECKING:
    from pilothouse.apiserver.crd.conversion import Conversion, ConversionMetrics
    from pilothouse.apiserver.crd.converted import Spawn


class Serving:
    """`spawn` starts what converts changes as they happen."""

    def __init__(
        self, server: ApiServer, clock: Clock, rng: random.Random, webhooks: WebhookClient | None, spawn: Spawn
    ) -> None:
        self._server = server
        self._clock = clock
        self._rng = rng
        self._webhooks = webhooks
        self._spawn = spawn
        self._metrics: ConversionMetrics | None = None

    def endpoints(
        self, definition: Object, kinds: Sequence[CustomKind], stored: Resource, lifecycle: Lifecycle | None
    ) -> list[CustomEndpoint]:
        """In the order of `kinds`, whose objects are cached as `stored`."""
        versions = {kind.resource.gvr.version: kind for kind in kinds}
        if definition["spec"]["conversion"]["strategy"] == "Webhook":
            conversion = self._conversion(definition)
            at = definition["status"].get("storedVersions")
            return [
                self._converted(
                    kind, versions, stored, lifecycle, conversion, is_pure=at == [kind.resource.gvr.version]
                )
                for kind in kinds
            ]
        return [self._plain(kind, versions, stored, lifecycle) for kind in kinds]

    def _plain(
        self, kind: CustomKind, versions: Mapping[str, CustomKind], stored: Resource, lifecycle: Lifecycle | None
    ) -> CustomEndpoint:
        gvr = kind.resource.gvr
        renaming = None if kind.is_stored else Renaming(Kinds(versions), gvr, stored.gvr)

        async def open_registry() -> Registry:
            return await self._server.custom_registry(kind.resource, stored, endpoint.read, lifecycle, renaming)

        endpoint = CustomEndpoint(kind, versions, open_registry)
        return endpoint

    def _converted(
        self,
        kind: CustomKind,
        versions: Mapping[str, CustomKind],
        stored: Resource,
        lifecycle: Lifecycle | None,
        conversion: Conversion,
        *,
        is_pure: bool,
    ) -> ConvertedEndpoint:
        from pilothouse.apiserver.crd.converted import ConvertedStore

        translation = Converting(Kinds(versions), conversion, kind.resource.gvr, stored.gvr)

        async def open_registry() -> Registry:
            return await self._server.custom_registry(kind.resource, stored, endpoint.read, lifecycle, translation)

        async def open_view() -> Cacher:
            view = ConvertedStore(self._server.cachers.store, translation, self._spawn)
            view.failed = endpoint.close_view
            return await Cacher.open(view, kind.resource, self._clock)

        endpoint = ConvertedEndpoint(kind, versions, open_registry, translation, None if is_pure else open_view)
        return endpoint

    def _conversion(self, definition: Object) -> Conversion:
        from pilothouse.apiserver.crd.conversion import Conversion, ConversionMetrics

        if self._webhooks is None:
            raise ServiceUnavailable("this server cannot call webhooks")
        if self._metrics is None:
            self._metrics = ConversionMetrics()
            self._server.metrics.add(self._metrics.families)
        return Conversion(definition, self._webhooks, self._metrics, self._clock, self._rng)
