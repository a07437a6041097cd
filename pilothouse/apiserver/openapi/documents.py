"""OpenAPI documents made from operations and definitions. Pure.

Source: OpenAPI 2.0 and 3.0.0, with the extensions that Kubernetes' clients read (`x-kubernetes-action`,
`x-kubernetes-group-version-kind`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.schema import openapi as definitions
from pilothouse.apiserver.openapi.operations import META, PRETTY, Operation, Parameter, operations, tag
from pilothouse.apiserver.openapi.roots import Root

_PROTOBUF = "application/vnd.kubernetes.protobuf"
_STREAMED = ("application/json;stream=watch", f"{_PROTOBUF};stream=watch")
_STREAMING = frozenset({"list", "watch", "watchlist"})
_REASONS = {200: "OK", 201: "Created", 202: "Accepted"}
_INFO: Mapping[str, str] = {"title": "Kubernetes", "version": "1.36"}
_CUSTOM_INFO: Mapping[str, str] = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
"""Of a document of custom kinds."""
_TOKEN: Mapping[str, str] = {
    "description": "Bearer Token authentication",
    "in": "header",
    "name": "authorization",
    "type": "apiKey",
}
_SHARED = (f"{META}DeleteOptions", f"{META}WatchEvent")
_LOG_TYPES = ("text/plain", "application/json", "application/yaml", _PROTOBUF)
Served = Sequence[tuple[GVR, Resource]]


def version_2(served: Served, custom: Mapping[str, Object] | None = None, roots: Iterable[Root] = ()) -> Object:
    """The whole API as one document of OpenAPI 2. `custom` are the definitions of kinds that are not built in."""
    return {
        "swagger": "2.0",
        "info": dict(_INFO),
        "paths": _paths(served, _operation_2, _parameter_2, {root.path: _root_2(root) for root in roots}),
        "definitions": {**definitions.definitions(2), **(custom or {})},
        "securityDefinitions": {"BearerToken": dict(_TOKEN)},
        "security": [{"BearerToken": []}],
    }


def version_3(
    served: Served,
    custom: Mapping[str, Object] | None = None,
    references: Iterable[str] = (),
    roots: Sequence[Root] = (),
) -> Object:
    """One group version as a document of OpenAPI 3, with the definitions that it refers to; or just some of `roots`.

    `custom` are the definitions of kinds that are not built in, and `references` the built-in ones that these refer to.
    """
    custom = custom or {}
    names = {root.answer for root in roots}
    if custom:
        names |= {f"{META}{name}" for name in ("DeleteOptions", "Patch", "Status", "WatchEvent")}
    for gvr, resource in served:
        for operation in operations(gvr, resource):
            names |= {operation.body, operation.answer}
    schemas = {**definitions.definitions(3, sorted({*names, *references} - {"", *custom})), **custom}
    if not custom:
        _tell_own_versions(schemas, {("", "v1"), *((gvr.group, gvr.version) for gvr, _ in served)})
    return {
        "openapi": "3.0.0",
        "info": dict(_CUSTOM_INFO if custom else _INFO),
        "paths": _paths(served, _operation_3, _parameter_3, {root.path: _root_3(root) for root in roots}),
        "components": {
            **({"schemas": schemas} if schemas else {}),
            "securitySchemes": {"BearerToken": dict(_TOKEN)},
        },
    }


def _tell_own_versions(schemas: Object, versions: set[tuple[str, str]]) -> None:
    """Of what all groups share, tell only that it belongs to those of a document."""
    for name in _SHARED:
        if name in schemas:
            kinds = schemas[name]["x-kubernetes-group-version-kind"]
            own = [kind for kind in kinds if (kind["group"], kind["version"]) in versions]
            schemas[name]["x-kubernetes-group-version-kind"] = own


def _paths(served: Served, render: Any, render_parameter: Any, paths: Object) -> Object:
    """The kinds' paths beside `paths`. What all methods of a path take is told once, of the path."""
    found: dict[str, list[Operation]] = {}
    for gvr, resource in served:
        for operation in operations(gvr, resource):
            found.setdefault(operation.path, []).append(operation)
    for path, members in found.items():
        common = _taken(members[0])
        for operation in members[1:]:
            common &= _taken(operation)
        item = {operation.method: render(operation, common) for operation in members}
        if common:
            ordered = sorted(common, key=lambda parameter: (parameter.name, parameter.place))
            item["parameters"] = [render_parameter(parameter) for parameter in ordered]
        paths[path] = item
    return dict(sorted(paths.items()))


def _taken(operation: Operation) -> set[Parameter]:
    return {*operation.parameters, *(() if operation.action == "connect" else (PRETTY,))}


def _root_2(root: Root) -> Object:
    schema: Object = {"$ref": f"#/definitions/{root.answer}"} if root.answer else {"type": "string"}
    consumed = {"consumes": list(root.consumes)} if root.consumes else {}
    rest = {
        "produces": list(root.produces),
        "schemes": ["https"],
        "responses": {
            "200": {"description": _REASONS[200], "schema": schema},
            "401": {"description": "Unauthorized"},
        },
    }
    return {"get": _root_head(root) | consumed | rest}


def _root_3(root: Root) -> Object:
    schema: Object = {"$ref": f"#/components/schemas/{root.answer}"} if root.answer else {"type": "string"}
    content = {media_type: {"schema": schema} for media_type in root.produces}
    responses = {
        "200": {"description": _REASONS[200], "content": content},
        "401": {"description": "Unauthorized"},
    }
    return {"get": {**_root_head(root), "responses": responses}}


def _root_head(root: Root) -> Object:
    return {"description": root.description, "operationId": root.id, "tags": [root.tag]}


def _head(operation: Operation) -> Object:
    group, version, kind = operation.kind
    return {
        "description": operation.description,
        "operationId": operation.id,
        "tags": [tag(operation.gvr)],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    }


def _produced(operation: Operation) -> list[str]:
    """The media types of an answer; protobuf only for kinds that are built in."""
    if not operation.answer:
        return list(_LOG_TYPES) if operation.action != "connect" else ["*/*"]
    media_types = ["application/json", "application/yaml"]
    if definitions.definition_name(operation.gvr.api_version, operation.gvr.kind) is None:
        return media_types
    return [*media_types, _PROTOBUF, *(_STREAMED if operation.action in _STREAMING else ())]


def _own(operation: Operation, common: set[Parameter]) -> list[Parameter]:
    """What an operation takes beside what all of its path's take."""
    return sorted(_taken(operation) - common, key=lambda parameter: (parameter.name, parameter.place))


def _parameter_2(parameter: Parameter) -> Object:
    rendered: Object = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "type": parameter.type,
        "uniqueItems": True,
    }
    return rendered | ({"required": True} if parameter.place == "path" else {})


def _parameter_3(parameter: Parameter) -> Object:
    rendered: Object = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {"type": parameter.type, "uniqueItems": True},
    }
    return rendered | ({"required": True} if parameter.place == "path" else {})


def _operation_2(operation: Operation, common: set[Parameter]) -> Object:
    parameters = [_parameter_2(parameter) for parameter in _own(operation, common)]
    if operation.body:
        body: Object = {"name": "body", "in": "body", "schema": {"$ref": f"#/definitions/{operation.body}"}}
        parameters.insert(0, body | ({"required": True} if operation.is_body_required else {}))
    answer: Object = {
        "schema": {"$ref": f"#/definitions/{operation.answer}"} if operation.answer else {"type": "string"}
    }
    rendered = _head(operation) | {
        "consumes": list(operation.consumes),
        "produces": _produced(operation),
        "schemes": ["https"],
        "responses": {
            **{str(code): {"description": _REASONS[code], **answer} for code in operation.codes},
            "401": {"description": "Unauthorized"},
        },
    }
    return rendered | ({"parameters": parameters} if parameters else {})


def _operation_3(operation: Operation, common: set[Parameter]) -> Object:
    schema: Object = {"$ref": f"#/components/schemas/{operation.answer}"} if operation.answer else {"type": "string"}
    content = {media_type: {"schema": schema} for media_type in _produced(operation)}
    rendered = _head(operation) | {
        "responses": {
            **{str(code): {"description": _REASONS[code], "content": content} for code in operation.codes},
            "401": {"description": "Unauthorized"},
        },
    }
    if parameters := [_parameter_3(parameter) for parameter in _own(operation, common)]:
        rendered["parameters"] = parameters
    if operation.body:
        reference = {"schema": {"$ref": f"#/components/schemas/{operation.body}"}}
        rendered["requestBody"] = {
            "content": dict.fromkeys(operation.consumes, reference),
            **({"required": True} if operation.is_body_required else {}),
        }
    return rendered
