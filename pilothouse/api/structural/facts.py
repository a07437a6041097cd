"""A schema in the terms of `api/schema`: what applying and merging objects go by."""

from __future__ import annotations

from pilothouse.api.schema.types import META, Field, ListOf, MapOf, Ref, Scalar, Struct, Type
from pilothouse.api.structural.schema import Structural

_SCALARS = {"string": "string", "boolean": "boolean", "integer": "int64", "number": "double"}
_META = {
    "apiVersion": Field(Scalar("string")),
    "kind": Field(Scalar("string")),
    "metadata": Field(Ref(f"{META}ObjectMeta")),
}


def struct_of(schema: Structural, name: str) -> Struct:
    """The type of whole objects; `name` ends in the kind."""
    return _struct(schema, name, is_resource=True)


def _struct(schema: Structural, name: str, *, is_resource: bool) -> Struct:
    fields = {
        key: _field(child, f"{name}.{key}", required=key in schema.required)
        for key, child in schema.properties.items()
        if not (is_resource and key in _META)
    }
    if is_resource:
        fields = {**_META, **fields}
    return Struct(name, fields, schema.map_type, preserves_unknown=schema.preserves_unknown)


def _field(schema: Structural, name: str, *, required: bool) -> Field:
    return Field(
        _type(schema, name),
        required,
        list_type=schema.list_type,
        map_keys=schema.map_keys,
        map_type=schema.map_type,
    )


def _type(schema: Structural, name: str) -> Type:
    if schema.is_int_or_string:
        return Scalar("int-or-string")
    if schema.type == "array":
        return ListOf(Scalar("any") if schema.items is None else _type(schema.items, name))
    if schema.type == "object" or schema.properties or schema.preserves_unknown:
        if isinstance(schema.additional, Structural):
            return MapOf(_type(schema.additional, name))
        if schema.additional is True:
            return MapOf(Scalar("any"))
        return _struct(schema, name, is_resource=schema.is_embedded)
    return Scalar(_SCALARS.get(schema.type, "any"))
