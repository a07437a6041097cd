"""Parameters of policies, read from the caches of the kinds that are served, custom ones included."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.meta import Object
from pilothouse.api.schema.types import Struct
from pilothouse.apiserver.admission.policies.mutating import FindStruct
from pilothouse.apiserver.admission.policies.source import FindParams, ParamStore
from pilothouse.apiserver.endpoint import Endpoint


class ServedParams:
    """The objects of one kind in the version that its endpoint serves."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.is_namespaced = endpoint.gvr.namespaced

    async def get(self, namespace: str, name: str) -> Object | None:
        cacher = (await self._endpoint.registry()).cacher
        await cacher.fresh()
        cached = cacher.get(namespace, name)
        return None if cached is None else await self._endpoint.loaded(cached)

    async def list(self, namespace: str) -> list[Object]:
        cacher = await self._endpoint.cacher()
        await cacher.fresh()
        return [self._endpoint.from_stored(cached.object()) for cached in cacher.list(namespace).items]


def served_params(endpoint_of_kind: Callable[[str, str], Endpoint | None]) -> FindParams:
    async def find(api_version: str, kind: str) -> ParamStore | None:
        endpoint = endpoint_of_kind(api_version, kind)
        return None if endpoint is None else ServedParams(endpoint)

    return find


def served_structs(endpoint_of_kind: Callable[[str, str], Endpoint | None]) -> FindStruct:
    def find(api_version: str, kind: str) -> Struct | None:
        endpoint = endpoint_of_kind(api_version, kind)
        return None if endpoint is None else endpoint.schema.struct

    return find
