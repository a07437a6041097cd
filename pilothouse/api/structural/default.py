"""Defaults of a schema. Source: apiextensions-apiserver `pkg/apiserver/schema/defaulting`."""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.structural.schema import Structural


def default(value: Any, schema: Structural | None) -> None:
    """Fills in defaults, in place. A null where the schema allows none counts as not given."""
    if schema is None:
        return
    if value.__class__ is dict:
        for name, child in schema.properties.items():
            if child.default is not None and (name not in value or (value[name] is None and not child.nullable)):
                value[name] = _copy(child.default)
        for name, child_value in value.items():
            found = schema.properties.get(name)
            if found is None:
                if not isinstance(schema.additional, Structural):
                    continue
                found = schema.additional
                if child_value is None and not found.nullable:
                    value[name] = child_value = _copy(found.default)
            if child_value.__class__ is dict or child_value.__class__ is list:
                default(child_value, found)
    elif value.__class__ is list:
        items = schema.items
        for index, item in enumerate(value):
            if item is None and items is not None and not items.nullable:
                value[index] = item = _copy(items.default)
            default(item, items)


def drop_nulls(value: Any, schema: Structural | None) -> None:
    """Removes nulls, in place, where the schema neither allows them nor has a default to put there."""
    if schema is None:
        return
    if value.__class__ is dict:
        dropped = []
        for name, child in value.items():
            found = schema.member(name)
            if child is None and found is not None and not found.nullable and found.default is None:
                dropped.append(name)
            elif child.__class__ is dict or child.__class__ is list:
                drop_nulls(child, found)
        for name in dropped:
            del value[name]
    elif value.__class__ is list:
        for item in value:
            drop_nulls(item, schema.items)


def _copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value)) if isinstance(value, dict | list) else value
