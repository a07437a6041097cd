"""Custom kinds as OpenAPI describes them.

Version 3 publishes schemas as they are. Version 2 has no words for nullable values, alternatives and values of several types, and
leaves open what it cannot say. Source: apiextensions-apiserver `pkg/controller/openapi/builder`, `pkg/controller/openapi/v2`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.apiserver.crd.kinds import CustomKind
from pilothouse.apiserver.openapi.operations import META

_PATHS = {2: "#/definitions/", 3: "#/components/schemas/"}
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the "
    f"latest internal value, and may reject unrecognized values. More info: {_CONVENTIONS}#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the "
    f"client submits requests to. Cannot be updated. In CamelCase. More info: {_CONVENTIONS}#types-kinds"
)
_NOT_IN_2 = frozenset(("nullable", "allOf", "anyOf", "oneOf", "not"))
_PRESERVES, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
REFERENCES = (f"{META}ObjectMeta", f"{META}ListMeta")
"""The built-in definitions that custom ones refer to."""


def definitions(kinds: Iterable[CustomKind], version: int) -> dict[str, Object]:
    """The schemas of custom kinds and of their lists, by definition name, for OpenAPI 2 or 3."""
    found: dict[str, Object] = {}
    for kind in kinds:
        name = kind.schema.name
        found[name] = _definition(kind, version)
        found[f"{name}List"] = _list_definition(kind, version)
    return found


def _definition(kind: CustomKind, version: int) -> Object:
    gvr = kind.resource.gvr
    source = kind.schema.source()
    if version == 2 and source.get(_PRESERVES):
        # With any properties kubectl would take all others for mistakes.
        schema: Object = {}
    else:
        schema = _version_2(source) if version == 2 else dict(source)
        properties = dict(schema.get("properties") or {})
        schema["properties"] = {**properties, **_meta("ObjectMeta", version)}
    schema.setdefault("type", "object")
    schema["x-kubernetes-group-version-kind"] = [{"group": gvr.group, "kind": gvr.kind, "version": gvr.version}]
    return _embedding(schema, version)


def _list_definition(kind: CustomKind, version: int) -> Object:
    gvr = kind.resource.gvr
    item = {"$ref": f"{_PATHS[version]}{kind.schema.name}"}
    return {
        "description": f"{gvr.kind}List is a list of {gvr.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_meta("ListMeta", version),
            "items": {"description": f"List of {gvr.plural}.", "type": "array", "items": item},
        },
        "x-kubernetes-group-version-kind": [{"group": gvr.group, "kind": f"{gvr.kind}List", "version": gvr.version}],
    }


def _meta(metadata: str, version: int) -> Object:
    reference: Object = {"$ref": f"{_PATHS[version]}{META}{metadata}"}
    description = f"Standard object's metadata. More info: {_CONVENTIONS}#metadata"
    return {
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
        "metadata": {"allOf": [reference], "description": description} if version == 3 else reference,
    }


def _embedding(schema: Object, version: int) -> Object:
    """The schema with the metadata of embedded resources."""
    draft = dict(schema)
    if draft.get("properties"):
        draft["properties"] = {
            name: _embedding(child, version) if "$ref" not in child else child
            for name, child in draft["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(draft.get(key), Mapping):
            draft[key] = _embedding(draft[key], version)
    if draft.get(_EMBEDDED):
        draft["properties"] = {**(draft.get("properties") or {}), **_meta("ObjectMeta", version)}
        draft["required"] = sorted({*(draft.get("required") or ()), "apiVersion", "kind"})
    return draft


def _version_2(schema: Mapping[str, Any]) -> Object:
    said = {key: value for key, value in schema.items() if key not in _NOT_IN_2}
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        for key in ("type", "properties", "items", "additionalProperties", "required", "default", "enum"):
            said.pop(key, None)
        return said
    if schema.get(_PRESERVES):
        for key in ("properties", "items", "additionalProperties", "required"):
            said.pop(key, None)
        return said
    said.pop("default", None)
    if said.get("properties"):
        said["properties"] = {name: _version_2(child) for name, child in said["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(said.get(key), Mapping):
            said[key] = _version_2(said[key])
    return said
