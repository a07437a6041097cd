"""Admission of what is answered and not kept: reviews, and requests for tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.apiserver.attributes import Admission, Attributes
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.seams import Answerer

Admit = Callable[[Call, Object], Awaitable[None]]
"""Raises the error with which a request is refused."""


async def admit_all(call: Call, obj: Object) -> None:
    """Refuses nothing."""


class ReviewAdmission:
    def __init__(self, chain: Admission, resources: Iterable[Resource]) -> None:
        self._chain = chain
        self._resources = {(resource.gvr.group, resource.gvr.plural): resource for resource in resources}

    def mutated(self, answerer: Answerer) -> Answerer:
        """An answerer of what mutating admission has left of an object."""

        async def answer(call: Call, obj: Object) -> Object:
            await self._chain.mutate(self._attributes(call, obj))
            return await answerer(call, obj)

        return answer

    async def validate(self, call: Call, obj: Object) -> None:
        """Raises the error with which the request is refused."""
        await self._chain.validate(self._attributes(call, obj))

    def _attributes(self, call: Call, obj: Object) -> Attributes:
        info = call.info
        resource = self._resources[info.api_group, info.resource]
        return Attributes(
            "CREATE",
            resource,
            GVR(info.api_group, info.api_version, info.resource, resource.gvr.kind, resource.gvr.namespaced),
            info.namespace,
            info.name,
            call.user,
            obj,
            subresource=info.subresource,
            is_dry_run=call.query.get("dryRun") == "All",
            warnings=call.warnings,
            annotations={} if call.annotations is None else call.annotations,
        )
