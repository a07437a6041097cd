"""Sets of fields as texts, and trackers of built-in kinds, for tests.

A text has one path a line, whose elements stand between slashes: `spec/containers/name=web/image`. `=x` is an item of a set.
"""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.apply import sets
from pilothouse.api.apply.elements import of_keys, of_value
from pilothouse.api.apply.resets import resets_of
from pilothouse.api.apply.sets import FieldSet
from pilothouse.api.apply.tracking import Tracker
from pilothouse.api.apply.versions import BuiltIn
from pilothouse.api.kinds.table import by_kind
from pilothouse.api.schema import schema_of

NOW = 1_700_000_000.0


def fields(*paths: str) -> FieldSet:
    return sets.of_paths([tuple(map(_element, path.split("/"))) for path in paths])


def _element(text: str) -> str:
    name, separator, value = text.partition("=")
    if not separator:
        return f"f:{text}"
    if not name:
        return of_value(_value(value))
    pairs = dict(pair.split("=") for pair in text.split(","))
    return of_keys({key: _value(pairs[key]) for key in sorted(pairs)})


def _value(text: str) -> Any:
    return int(text) if text.isdigit() else text


def shown(found: FieldSet) -> set[str]:
    """The paths of a set, in the texts of `fields`."""

    def text(element: str) -> str:
        if element[0] == "f":
            return element[2:]
        value = orjson.loads(element[2:])
        return f"={value}" if element[0] == "v" else ",".join(f"{key}={value[key]}" for key in value)

    return {"/".join(map(text, path)) for path in sets.paths(found)}


def tracker(api_version: str = "v1", kind: str = "ConfigMap", subresource: str = "") -> Tracker:
    resource = by_kind(api_version, kind)
    assert resource is not None
    schema = schema_of(api_version, kind)
    gvrs = (resource.gvr, *resource.other_versions)
    return Tracker(
        next(gvr for gvr in gvrs if gvr.api_version == api_version),
        BuiltIn(gvrs),
        schema.empty(),
        subresource=subresource,
        resets=resets_of(resource, subresource),
    )


def loaded(obj: dict[str, Any]) -> dict[str, Any]:
    """A copy as the server keeps it, with defaults."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(obj))
    schema = schema_of(copy["apiVersion"], copy["kind"])
    schema.load(copy)
    schema.default(copy)
    return copy


def stored(obj: dict[str, Any]) -> dict[str, Any]:
    """The same for the result of an apply or a tracked draft: what the next write finds."""
    copy = loaded(obj)
    copy["metadata"].setdefault("uid", "u")
    return copy


def owners(obj: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """What each manager owns, by name and operation."""
    return {
        (entry["manager"], entry["operation"]): shown(entry["fieldsV1"])
        for entry in obj["metadata"].get("managedFields", ())
    }
