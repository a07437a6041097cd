"""GET of one object."""

from __future__ import annotations

from pilothouse.api.status import BadRequest
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import revision_of
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.route import is_true
from pilothouse.kit.http.message import Response


async def get(call: Call, endpoint: Endpoint, now: float) -> Response:
    """The object as it is now; with `resourceVersion`, as it was then or later. Raises NotFound, BadRequest, Timeout."""
    registry = await endpoint.registry()
    info = call.info
    wanted = ""
    if call.query:
        if is_true(call.query.get("export", "false")):
            raise BadRequest("the export parameter, deprecated since v1.14, is no longer supported")
        wanted = call.query.get("resourceVersion", "")
    if wanted:
        await registry.cacher.reach(revision_of(wanted))
    else:
        await registry.cacher.fresh()
    cached = registry.cacher.get(info.namespace if endpoint.gvr.namespaced else "", info.name)
    if cached is None:
        raise registry.not_found(info.name, endpoint.gvr)
    return await object_response(call, endpoint, 200, cached.wire, now)
