"""The scale subresource: how many replicas, for every kind that declares where it keeps that number.

Source: `pkg/registry/apps/deployment/storage`, `autoscaling/v1.Scale`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from pilothouse.api import selector
from pilothouse.api.apply.scale import from_scale, to_scale
from pilothouse.api.kinds.columns import AGE, NAME, number
from pilothouse.api.meta import Object
from pilothouse.api.path import Path, invalid, invalid_object
from pilothouse.api.resource import ScalePaths
from pilothouse.api.schema import schema_of
from pilothouse.api.status import OBJECT_MODIFIED, conflict
from pilothouse.api.view import json_copy
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import check_identity, decode
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import internal, precondition_failed
from pilothouse.apiserver.negotiate import Shape
from pilothouse.apiserver.options import WriteOptions, write_options
from pilothouse.apiserver.ownership import keep, take
from pilothouse.apiserver.present import object_response, value_response
from pilothouse.apiserver.tracking import manager_of
from pilothouse.apiserver.verbs.apply import configuration, is_apply
from pilothouse.apiserver.verbs.patch_body import Patch
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response

_COLUMNS = (
    replace(NAME, format=""),
    number("Desired", "spec", "replicas", description="How many replicas there are to be."),
    number("Available", "status", "replicas", description="How many replicas there are."),
    AGE,
)
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


async def serve(call: Call, endpoint: Endpoint, now: float) -> Response:
    """GET, PUT and PATCH. Raises NotFound, Conflict, Invalid, BadRequest."""
    paths = endpoint.resource.scale or ScalePaths()
    registry = await endpoint.registry()
    info = call.info
    if info.verb == "get":
        cached = await registry.get(info.namespace, info.name)
        obj = await endpoint.loaded(cached)
        if paths.needs_replicas and _at(obj, paths.replicas) is None:
            raise internal(f'the spec replicas field ".{".".join(paths.replicas)}" does not exist')
        return await _answer(call, endpoint, scale_of(obj, paths), now)
    applies = info.verb == "patch" and is_apply(call)
    options = write_options(call.query, "UpdateOptions" if info.verb == "update" else "PatchOptions", is_apply=applies)
    write = Write(
        call.user, info.namespace, info.name, "scale", options.dry_run, options.to_object(), call.warnings, keep
    )
    spoken = endpoint.of(endpoint.subresources["scale"])
    tracker = spoken.tracker("scale")

    def tracked(old: Object, scale: Object) -> Object:
        tracker.update(old, scale, manager_of(call, options), now)
        return scale

    if info.verb == "update":
        sent = _read(call, spoken, options)

        def wanted(old: Object) -> Object:
            return tracked(old, json_copy(sent))
    elif applies:
        config = configuration(call)

        def wanted(old: Object) -> Object:
            scale = tracker.apply(old, json_copy(config.config), options.field_manager, now, force=options.force)
            config.check(call, options)
            call.warnings.extend(spoken.schema.load(scale, strict=options.field_validation))
            return scale
    else:
        document = Patch(call, endpoint, options)

        def wanted(old: Object) -> Object:
            return tracked(old, document.result(json_copy(old), call, spoken, options))

    async def change(present: Object) -> Object:
        entries = present["metadata"].get("managedFields") or []
        old = scale_of(present, paths)
        take(old["metadata"], to_scale(entries, paths.replicas))
        scale = wanted(old)
        rules.check_name(scale, info.namespace, info.name)
        _check(scale, present, endpoint)
        _put(present, paths.replicas, (scale.get("spec") or {}).get("replicas", 0))
        after = scale["metadata"].get("managedFields") or []
        take(present["metadata"], from_scale(entries, after, paths.replicas, endpoint.gvr.api_version))
        return present

    wire = await registry.update(
        change, write, check=endpoint.resource.validate_update if paths.needs_replicas else None
    )
    return await _answer(
        call, endpoint, scale_of(orjson.loads(endpoint.wire(await endpoint.answered(wire))), paths), now
    )


async def _answer(call: Call, endpoint: Endpoint, scale: Object, now: float) -> Response:
    if call.output.shape is Shape.WHOLE:
        return value_response(call, 200, scale)
    spoken = endpoint.of(endpoint.subresources["scale"])
    spoken.resource = replace(spoken.resource, columns=_COLUMNS)
    return await object_response(call, spoken, 200, orjson.dumps(scale), now)


def scale_of(obj: Mapping[str, Any], paths: ScalePaths) -> Object:
    """The Scale of an object."""
    metadata = {key: obj["metadata"][key] for key in _COPIED if key in obj["metadata"]}
    replicas = _at(obj, paths.replicas)
    status: Object = {"replicas": _at(obj, paths.status_replicas) or 0}
    selected = _at(obj, paths.selector) if paths.selector else None
    if isinstance(selected, str):
        status["selector"] = selected
    elif selected:
        parsed = selector.from_map(selected) if paths.selector_is_map else selector.from_object(selected)
        status["selector"] = str(parsed)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _read(call: Call, spoken: Endpoint, options: WriteOptions) -> Object:
    obj, duplicates = decode(call.request.body, call.request.headers, "Scale")
    check_identity(obj, spoken.gvr)
    schema = schema_of("autoscaling/v1", "Scale")
    call.warnings.extend(schema.load(obj, strict=options.field_validation, duplicates=duplicates))
    obj.setdefault("metadata", {})
    return obj


def _check(scale: Mapping[str, Any], present: Mapping[str, Any], endpoint: Endpoint) -> None:
    gvr = endpoint.gvr
    metadata = scale["metadata"]
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0 and not (endpoint.resource.scale or ScalePaths()).needs_replicas:
        fault = invalid(Path("spec.replicas"), replicas, "must be greater than or equal to 0")
        raise invalid_object("autoscaling", "Scale", metadata.get("name", ""), [fault])
    found = present["metadata"]
    if metadata.get("uid") and metadata["uid"] != found.get("uid"):
        namespace = found.get("namespace", "")
        raise precondition_failed(gvr, namespace, metadata["name"], "UID", metadata["uid"], found.get("uid", ""))
    if metadata.get("resourceVersion") and metadata["resourceVersion"] != found.get("resourceVersion"):
        raise conflict(gvr.plural, gvr.group, metadata["name"], OBJECT_MODIFIED)


def _at(obj: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = obj
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _put(obj: Object, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        obj = obj.setdefault(name, {})
    obj[path[-1]] = value
