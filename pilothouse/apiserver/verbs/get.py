"""GET of one object."""

from __future__ import annotations

from pilothouse.api.status import BadRequest
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.present import object_response
from pilothouse.kit.http.message import Response
from pilothouse.store.base import Revision


async def get(call: Call, endpoint: Endpoint, now: float) -> Response:
    """The object as it is now; with `resourceVersion`, as it was then or later. Raises NotFound, BadRequest, Timeout."""
    registry = await endpoint.registry()
    info = call.info
    wanted = call.query.get("resourceVersion") if call.query else None
    if wanted:
        if not wanted.isdigit():
            raise BadRequest(f'Invalid value: "{wanted}": resourceVersion must be an unsigned integer')
        await registry.cacher.reach(Revision(int(wanted)))
    else:
        await registry.cacher.fresh()
    cached = registry.cacher.get(info.namespace if endpoint.gvr.namespaced else "", info.name)
    if cached is None:
        raise registry.not_found(info.name)
    return await object_response(call, endpoint, 200, cached.wire, now)
