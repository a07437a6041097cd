"""DELETE of an object, or of all objects of a collection that match."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.status import NotFound
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import DeleteOptions, ListOptions, delete_options, list_options
from pilothouse.apiserver.present import list_response, object_response, value_response
from pilothouse.apiserver.verbs.list import next_token, read
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response
from pilothouse.store.cached import Cached

_AT_ONCE = 64


async def delete(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, NotFound, Conflict, Forbidden."""
    options = _options(call, endpoint)
    registry = await endpoint.registry()
    deleted = await registry.delete(_write(call, endpoint, call.info.namespace, call.info.name, options), options)
    code = 202 if not deleted.is_gone and options.orphan_dependents is False else 200
    if deleted.is_gone and not endpoint.resource.returns_deleted:
        return value_response(call, code, deletion_status(endpoint, orjson.loads(deleted.wire)))
    return await object_response(call, endpoint, code, deleted.wire, now)


def deletion_status(endpoint: Endpoint, obj: Object) -> Object:
    """The Status that tells that `obj` is gone."""
    details = {"name": obj["metadata"]["name"], "kind": endpoint.gvr.plural, "uid": obj["metadata"].get("uid", "")}
    if endpoint.gvr.group:
        details["group"] = endpoint.gvr.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def delete_collection(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Answers with what was deleted, as it was listed. Not atomic, as upstream."""
    options = _options(call, endpoint)
    wanted: ListOptions = list_options(call.query, is_watch=False)
    endpoint.check_selectable(wanted.fields)
    registry = await endpoint.registry()
    namespace = call.info.namespace if endpoint.gvr.namespaced else ""
    listing = await read(await endpoint.cacher(), namespace, wanted)

    async def delete_one(cached: Cached) -> None:
        with suppress(NotFound):
            await registry.delete(_write(call, endpoint, cached.namespace, cached.name, options), options)

    # Many at a time: a store that writes in groups then needs few writes to disk.
    for start in range(0, len(listing.items), _AT_ONCE):
        await asyncio.gather(*map(delete_one, listing.items[start : start + _AT_ONCE]))
    return await list_response(call, endpoint, listing, next_token(registry.cacher, namespace, listing), now)


def _options(call: Call, endpoint: Endpoint) -> DeleteOptions:
    options = delete_options(call.query, call.request.body, call.request.headers)
    warning = endpoint.resource.orphans_warning
    if warning and options.propagation is None and options.orphan_dependents is None:
        call.warnings.append(warning)
    if call.recorded is not None and call.request.body:
        call.recorded(options.to_object())
    return options


def _write(call: Call, endpoint: Endpoint, namespace: str, name: str, options: DeleteOptions) -> Write:
    return Write(
        call.user,
        namespace,
        name,
        dry_run=options.dry_run,
        options=options.to_object(),
        warnings=call.warnings,
        gvr=endpoint.gvr,
        annotations=call.annotations,
    )
