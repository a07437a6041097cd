"""Do the defaults of a schema fit the schema? Source: apiextensions-apiserver `pkg/apiserver/schema/defaulting/validation.go`."""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.path import FieldError, Path, invalid
from pilothouse.api.structural.check import check
from pilothouse.api.structural.embedded import check_embedded
from pilothouse.api.structural.prune import META_FIELDS, prune_value
from pilothouse.api.structural.schema import Structural


def check_defaults(schema: Structural, path: Path, *, in_metadata: bool = False) -> list[FieldError]:
    """The faults of all defaults at and below a node. Defaults inside `additionalProperties` are part of their own check."""
    faults: list[FieldError] = []
    if schema.default is not None:
        faults += _default_faults(schema.default, schema, path.child("default"), in_metadata=in_metadata)
    if schema.items is not None:
        faults += check_defaults(schema.items, path.child("items"), in_metadata=in_metadata)
    for name, child in schema.properties.items():
        inside = in_metadata or (schema.is_embedded and name in META_FIELDS)
        faults += check_defaults(child, path.child("properties").key(name), in_metadata=inside)
    return faults


def _default_faults(value: Any, schema: Structural, path: Path, *, in_metadata: bool) -> list[FieldError]:
    if not in_metadata and prune_value(orjson.loads(orjson.dumps(value)), schema):
        return [invalid(path, value, "must not have unknown fields")]
    return check_embedded(value, schema, path) or check(value, schema, at=path.text)
