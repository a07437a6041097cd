"""Lists of type `set` and `map` hold nothing twice. Source: apiextensions-apiserver `pkg/apiserver/schema/listtype`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pilothouse.api.path import FieldError, Path, duplicate, invalid
from pilothouse.api.structural.schema import Structural


def check_lists(value: Any, schema: Structural, path: Path | None = None) -> list[FieldError]:
    """The items that are there a second time, in a value and all below it."""
    return list(_faults(value, schema, path or Path()))


def _faults(value: Any, schema: Structural, path: Path) -> Iterator[FieldError]:
    if value.__class__ is dict:
        for key, child in value.items():
            found = schema.properties.get(key)
            if found is not None:
                yield from _faults(child, found, path.child(key))
            elif isinstance(schema.additional, Structural):
                yield from _faults(child, schema.additional, path.key(key))
    elif value.__class__ is list:
        if schema.list_type == "set":
            for index in repeated(value):
                yield duplicate(path.index(index), value[index])
        elif schema.list_type == "map":
            yield from _map_faults(value, schema, path)
        if schema.items is not None:
            for index, item in enumerate(value):
                yield from _faults(item, schema.items, path.index(index))


def _map_faults(value: Sequence[Any], schema: Structural, path: Path) -> Iterator[FieldError]:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            yield invalid(path.index(index), item, "must be an object for an array of list-type map")
            return
    keys = [{key: item[key] for key in schema.map_keys if key in item} if item else {} for item in value]
    for index in repeated(keys):
        yield duplicate(path.index(index), keys[index])


def repeated(values: Sequence[Any]) -> list[int]:
    """Where a value stands for the second time."""
    seen: dict[str, int] = {}
    found = []
    for index, value in enumerate(values):
        text = json.dumps(value, sort_keys=True)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            found.append(index)
    return found
