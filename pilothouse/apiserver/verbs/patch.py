"""PATCH of an object or of its status: JSON patch, merge patch, strategic merge patch; `apply` is for configurations."""

from __future__ import annotations

from pilothouse.api.meta import Object
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.apply import apply, is_apply
from pilothouse.apiserver.verbs.patch_body import Patch
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response


async def patch(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, UnsupportedMediaType, NotFound, Conflict, Invalid, Forbidden."""
    if is_apply(call):
        return await apply(call, endpoint, now)
    info = call.info
    options = write_options(call.query, "PatchOptions")
    document = Patch(call, endpoint, options)
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
        is_repeatable=True,
    )
    namespace = info.namespace if endpoint.gvr.namespaced else ""

    async def change(present: Object) -> Object:
        del call.warnings[warned:]
        draft = document.result(endpoint.from_stored(present), call, endpoint, options)
        rules.check_name(draft, namespace, info.name)
        return draft

    warned = len(call.warnings)
    # What a patch leaves alone is the present object's own, which is right for who writes nothing but the status.
    is_pure = info.subresource == "status" and not endpoint.is_converted and not endpoint.is_custom
    wire = await registry.update(change, write, is_pure=is_pure)
    return await object_response(call, endpoint, 200, wire, now)
