"""POST of an object to its collection."""

from __future__ import annotations

from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.body import read_object
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response


async def create(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, AlreadyExists, Invalid, Forbidden."""
    options = write_options(call.query, "CreateOptions")
    obj = read_object(call, endpoint, options)
    registry = await endpoint.registry()
    metadata = obj["metadata"]
    write = Write(
        call.user,
        call.info.namespace,
        metadata.get("name", ""),
        dry_run=options.dry_run,
        options=options.to_object(),
        warnings=call.warnings,
        track=tracking(call, endpoint, options),
        gvr=endpoint.gvr,
        annotations=call.annotations,
    )
    wire = await registry.create(obj, write)
    return await object_response(call, endpoint, 201, wire, now)
