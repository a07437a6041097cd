"""What a configuration would replace as a whole.

Who mutates a few fields of an object by a configuration may not see that a list, map or struct loses all that is not named.
Source: apiserver `pkg/admission/plugin/policy/mutating/patch/smd.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.schema.types import Field, ListOf, MapOf, Struct, Type, struct_of


def atomics(struct: Struct, config: Mapping[str, Any]) -> list[str]:
    """The paths, such as `.spec.selector`, of the atomic lists, maps and structs in a configuration of a type."""
    found: list[str] = []
    _fields(struct, config, "", found)
    return found


def _fields(struct: Struct, value: Mapping[str, Any], path: str, found: list[str]) -> None:
    for name, child in value.items():
        field = struct.fields.get(name)
        if field is not None:
            _value(field.type, child, f"{path}.{name}", found, field)


def _value(kind: Type, value: Any, path: str, found: list[str], field: Field | None = None) -> None:
    """`field` is the one that holds the value; an item of a list has none."""
    map_type = field.map_type if field is not None else ""
    if isinstance(kind, ListOf):
        if isinstance(value, list):
            if field is None or field.list_type not in ("map", "set"):
                found.append(path)
            for index, item in enumerate(value):
                _value(kind.item, item, f"{path}[{index}]", found)
    elif not isinstance(value, dict):
        return
    elif isinstance(kind, MapOf):
        if map_type == "atomic":
            found.append(path)
    elif (struct := struct_of(kind)) is not None:
        if map_type == "atomic" or (struct.map_type == "atomic" and map_type != "granular"):
            found.append(path)
        _fields(struct, value, path, found)
