"""The types that a custom kind's schema gives to expressions, and how large values of them can be.

Sizes are worst cases: what the schema does not limit is limited by the size of a request.
Source: apiserver `cel/common/schemas.go`, `cel/{types,limits}.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pilothouse.api.cel.environment import KEYWORDS, escape
from pilothouse.api.structural.schema import Structural

MAX_REQUEST_BYTES = 3 * 1024 * 1024
_FORMATTED = {"duration": ("duration", 3, 32), "date": ("timestamp", 12, 12), "date-time": ("timestamp", 21, 32)}
"""By format of a string: the type, and how many bytes of JSON a value has at least and at most."""
_SCALARS = {"boolean": ("bool", 4), "number": ("double", 1), "integer": ("int", 1)}


@dataclass(frozen=True, eq=False)
class Declared:
    """A type. `kind` is CEL's name of it, or `object`; sizes are of JSON in bytes."""

    kind: str
    min_bytes: int
    max_elements: int = 0
    """Characters, items or entries; 0 for what has none."""
    item: Declared | None = None
    fields: Mapping[str, Declared] = field(default_factory=dict)
    """By the name that expressions know."""

    @cached_property
    def max_count(self) -> int:
        """How often a value can be in a request if nothing limits that."""
        return MAX_REQUEST_BYTES // (self.min_bytes + 1)

    def size_at(self, path: tuple[str, ...]) -> int | None:
        """How many elements the value has at most to which a path leads; its first name is the variable's."""
        at = self
        for name in path[1:]:
            if name in ("@items", "@values"):
                found = at.item
            elif name == "@keys":
                found = _KEY if at.kind == "map" else None
            else:
                found = at.fields.get(name)
            if found is None:
                return None
            at = found
        return at.max_elements


_KEY = Declared("string", 2)
_TEXT = Declared("string", 2, MAX_REQUEST_BYTES - 2)


def declare(schema: Structural, *, is_resource: bool = False) -> Declared | None:
    """The type of the values of a schema; None for those that expressions cannot see."""
    if schema.is_int_or_string:
        return Declared("dyn", 1, MAX_REQUEST_BYTES - 2 if schema.max_length is None else max(schema.max_length, 0) * 4)
    if schema.type == "array" and schema.items is not None:
        item = declare(schema.items, is_resource=schema.items.is_embedded)
        if item is None:
            return None
        most = (MAX_REQUEST_BYTES - 2) // (item.min_bytes + 1)
        return Declared("list", 2, most if schema.max_items is None else max(schema.max_items, 0), item)
    if schema.type == "object":
        return _object(schema, is_resource=is_resource)
    if schema.type == "string":
        return _string(schema)
    if schema.type in _SCALARS:
        return Declared(*_SCALARS[schema.type])
    return None


def _object(schema: Structural, *, is_resource: bool) -> Declared | None:
    if isinstance(schema.additional, Structural) and not is_resource:
        value = declare(schema.additional, is_resource=schema.additional.is_embedded)
        if value is None:
            return None
        most = (MAX_REQUEST_BYTES - 2) // (value.min_bytes + 6)
        return Declared("map", 2, most if schema.max_properties is None else max(schema.max_properties, 0), value)
    fields: dict[str, Declared] = {}
    min_bytes = 2
    for name, child in schema.properties.items():
        if is_resource and name in ("apiVersion", "kind", "metadata"):
            continue
        found = declare(child, is_resource=child.is_embedded)
        if found is None:
            continue
        if (escaped := escape(name)) is not None:
            fields[escaped] = found
            if name in KEYWORDS:
                fields[name] = found
        if name in schema.required and child.default is None:
            min_bytes += len(name.encode()) + found.min_bytes + 4
    if is_resource:
        metadata = Declared("object", 2, fields={"name": _TEXT, "generateName": _TEXT})
        fields |= {"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata}
    return Declared("object", min_bytes, fields=fields)


def _string(schema: Structural) -> Declared:
    if schema.format in _FORMATTED:
        kind, least, most = _FORMATTED[schema.format]
        return Declared(kind, least, most)
    kind = "bytes" if schema.format == "byte" else "string"
    if schema.max_length is not None:
        characters = max(schema.max_length, 0)
        return Declared(kind, 2, characters if kind == "bytes" else characters * 4)
    if schema.enum and kind == "string":
        return Declared(kind, 2, max((len(each.encode()) for each in schema.enum if isinstance(each, str)), default=0))
    return Declared(kind, 2, MAX_REQUEST_BYTES - 2)
