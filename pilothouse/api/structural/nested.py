"""Schemas in places whose type is one of several: `items` and `additionalProperties`."""

from __future__ import annotations

from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.schema.load import Irregular, loader
from pilothouse.api.schema.repair import Repair, WrongType
from pilothouse.api.schema.types import catalog
from pilothouse.api.status import BadRequest

_PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_OPEN = ("items", "additionalProperties", "additionalItems")


def load_nested(schema: Object) -> None:
    """Brings all schemas below one that is loaded into their form, in place. Raises BadRequest for what is no schema."""
    for key in _OPEN:
        child = schema.get(key)
        if isinstance(child, dict):
            _load(child)
            load_nested(child)
        elif child is not None and not isinstance(child, list if key == "items" else bool):
            raise _unreadable(
                f"json: cannot unmarshal {type(child).__name__} into Go struct field JSONSchemaProps.{key}"
            )
    for child in _declared(schema):
        load_nested(child)


def _declared(schema: Object) -> list[Any]:
    found = list((schema.get("properties") or {}).values())
    for key in ("allOf", "anyOf", "oneOf"):
        found += schema.get(key) or ()
    if schema.get("not"):
        found.append(schema["not"])
    return found


def _load(schema: Object) -> None:
    struct = catalog().struct(_PROPS)
    try:
        loader(struct)(schema)
    except Irregular:
        try:
            Repair().struct(struct, schema, "", ("JSONSchemaProps",))
        except WrongType as error:
            raise _unreadable(str(error)) from None
        loader(struct)(schema)


def _unreadable(why: str) -> BadRequest:
    kind = "CustomResourceDefinition"
    return BadRequest(f'{kind} in version "v1" cannot be handled as a {kind}: {why}')
