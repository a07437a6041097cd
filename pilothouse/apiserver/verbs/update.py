"""PUT of an object or of its status."""

from __future__ import annotations

from pilothouse.api.meta import Object
from pilothouse.api.status import OBJECT_MODIFIED, NotFound, conflict
from pilothouse.api.view import json_copy
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import precondition_failed
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.body import read_object
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response


async def update(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, NotFound, Conflict, Invalid, Forbidden."""
    info = call.info
    options = write_options(call.query, "UpdateOptions")
    obj = read_object(call, endpoint, options)
    rules.check_name(obj, info.namespace if endpoint.gvr.namespaced else "", info.name)
    registry = await endpoint.registry()
    write = Write(
        call.user,
        info.namespace,
        info.name,
        info.subresource,
        options.dry_run,
        options.to_object(),
        call.warnings,
        tracking(call, endpoint, options),
        endpoint.gvr,
        call.annotations,
    )
    revision = write.seen = obj["metadata"].get("resourceVersion") or ""
    uid = obj["metadata"].get("uid")
    attempts = 0

    async def replace(present: Object) -> Object:
        nonlocal attempts
        attempts += 1
        if uid and uid != present["metadata"].get("uid"):
            raise precondition_failed(
                endpoint.gvr, info.namespace, info.name, "UID", uid, present["metadata"].get("uid", "")
            )
        if not revision:
            return json_copy(obj)
        if attempts > 1:
            # Somebody wrote in between, so that the object is not the one any more that the client saw.
            raise conflict(endpoint.gvr.plural, endpoint.gvr.group, info.name, OBJECT_MODIFIED)
        return obj

    try:
        wire = await registry.update(replace, write, is_pure=True)
    except NotFound:
        if not endpoint.resource.create_on_update or info.subresource:
            raise
        await call.authorize("create")
        if uid:
            raise precondition_failed(endpoint.gvr, info.namespace, info.name, "UID", uid, "") from None
        obj["metadata"].pop("resourceVersion", None)
        return await object_response(call, endpoint, 201, await registry.create(json_copy(obj), write), now)
    return await object_response(call, endpoint, 200, wire, now)
