"""PATCH of an object or of its status: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.patch import json as json_patch
from pilothouse.api.patch import merge as merge_patch
from pilothouse.api.patch import strategic as strategic_patch
from pilothouse.api.status import BadRequest, UnsupportedMediaType
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import check_identity, media_type
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import unsupported_media_type
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.registry import Write
from pilothouse.apiserver.verbs.body import load
from pilothouse.kit.http.message import Response

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)


async def patch(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, UnsupportedMediaType, NotFound, Conflict, Invalid, Forbidden."""
    info = call.info
    type_ = patch_type(call, endpoint.patch_types or PATCH_TYPES)
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
    )
    namespace = info.namespace if endpoint.gvr.namespaced else ""

    async def apply(present: Object) -> Object:
        del call.warnings[warned:]
        patched = apply_patch(type_, endpoint.from_stored(present), document, endpoint)
        check_identity(patched, endpoint.gvr)
        draft = load(patched, call, endpoint, options)
        rules.check_name(draft, namespace, info.name)
        return draft

    warned = len(call.warnings)
    wire = await registry.update(apply, write)
    return object_response(call, endpoint, 200, wire, now)


def patch_type(call: Call, understood: Sequence[str] = PATCH_TYPES) -> str:
    """Raises UnsupportedMediaType."""
    type_ = media_type(call.request.headers)
    if type_ == APPLY_PATCH:
        raise UnsupportedMediaType(
            "server-side apply (application/apply-patch+yaml) is not available in this version; use client-side apply or one of: "
            + ", ".join(understood)
        )
    if type_ not in understood:
        raise unsupported_media_type(tuple(understood))
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
