"""PATCH of an object or of its status: JSON patch, merge patch, strategic merge patch; `apply` is for configurations."""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.patch import json as json_patch
from pilothouse.api.patch import merge as merge_patch
from pilothouse.api.patch import strategic as strategic_patch
from pilothouse.api.status import BadRequest
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import check_identity, media_type
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import unsupported_media_type
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.registry import Write
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.apply import APPLY_PATCH, apply, is_apply
from pilothouse.apiserver.verbs.body import load
from pilothouse.kit.http.message import Response

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)


async def patch(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, UnsupportedMediaType, NotFound, Conflict, Invalid, Forbidden."""
    if is_apply(call):
        return await apply(call, endpoint, now)
    info = call.info
    type_ = patch_type(call, endpoint)
    document = patch_document(call)
    options = write_options(call.query, "PatchOptions")
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
    )
    namespace = info.namespace if endpoint.gvr.namespaced else ""

    async def change(present: Object) -> Object:
        del call.warnings[warned:]
        patched = apply_patch(type_, endpoint.from_stored(present), document, endpoint)
        check_identity(patched, endpoint.gvr)
        draft = load(patched, call, endpoint, options)
        rules.check_name(draft, namespace, info.name)
        return draft

    warned = len(call.warnings)
    wire = await registry.update(change, write)
    return object_response(call, endpoint, 200, wire, now)


def patch_type(call: Call, endpoint: Endpoint) -> str:
    """Raises UnsupportedMediaType."""
    type_ = media_type(call.request.headers)
    understood = tuple(
        each for each in PATCH_TYPES if each != STRATEGIC_PATCH or endpoint.resource.merges_strategically
    )
    if type_ not in understood:
        raise unsupported_media_type((*understood, APPLY_PATCH))
    return type_


def patch_document(call: Call) -> Any:
    """The decoded patch. Raises BadRequest."""
    try:
        return orjson.loads(call.request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"error decoding patch: {error}") from None


def apply_patch(type_: str, obj: Object, document: Any, endpoint: Endpoint) -> Object:
    if type_ == STRATEGIC_PATCH:
        try:
            return strategic_patch.apply(obj, document, strategic_patch.schema_of_struct(endpoint.schema.struct))
        except TypeError as error:
            # A list or a map where a scalar tells the elements of a list apart.
            raise BadRequest(f"error decoding patch: {error}") from None
    if type_ == JSON_PATCH:
        return json_patch.apply(obj, document)
    return merge_patch.apply(obj, document)
