"""Fields that the schema does not know are removed. Source: apiextensions-apiserver `pkg/apiserver/schema/pruning`."""

from __future__ import annotations

from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.structural.schema import Structural

META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


def prune(obj: Object, schema: Structural) -> list[str]:
    """Removes unknown fields from a whole object, in place; returns their paths, sorted."""
    unknown: list[str] = []
    _object(obj, schema, "", unknown, is_resource=True)
    unknown.sort()
    return unknown


def prune_value(value: Any, schema: Structural | None) -> list[str]:
    """The same for a value inside an object."""
    unknown: list[str] = []
    _value(value, schema, "", unknown)
    return unknown


def _value(value: Any, schema: Structural | None, path: str, unknown: list[str]) -> None:
    if value.__class__ is dict:
        _object(value, schema, path, unknown, is_resource=schema is not None and schema.is_embedded)
    elif value.__class__ is list:
        items = None if schema is None else schema.items
        if schema is not None and schema.preserves_unknown and items is None:
            return
        for index, item in enumerate(value):
            _value(item, items, f"{path}[{index}]", unknown)


def _object(obj: Object, schema: Structural | None, path: str, unknown: list[str], *, is_resource: bool) -> None:
    dropped = []
    for key, value in obj.items():
        if is_resource and key in META_FIELDS:
            continue
        found: Structural | None = None
        is_known = False
        if schema is not None:
            found = schema.properties.get(key)
            is_known = found is not None
            if found is None and schema.additional is not None:
                is_known = bool(schema.additional)
                found = schema.additional if isinstance(schema.additional, Structural) else None
                if schema.additional is True:
                    # `additionalProperties: true` says nothing of what the properties hold, so nothing in them is known.
                    _value(value, None, _join(path, key), unknown)
                    continue
        if is_known:
            if value.__class__ is dict or value.__class__ is list:
                _value(value, found, _join(path, key), unknown)
        elif schema is None or not schema.preserves_unknown:
            dropped.append(key)
    for key in dropped:
        unknown.append(_join(path, key))
        del obj[key]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
