"""Objects for tests of validation: loaded and defaulted as the API server does, then changed at a path."""

from __future__ import annotations

from typing import Any

from pilothouse.api.path import FieldError
from pilothouse.api.schema import schema_of
from pilothouse.api.view import json_copy

DELETED = object()


def loaded(obj: dict[str, Any]) -> dict[str, Any]:
    """`obj` after loading and defaulting."""
    draft = json_copy(obj)
    schema = schema_of(draft["apiVersion"], draft["kind"])
    schema.load(draft)
    schema.default(draft)
    return draft


def changed(obj: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `obj` with the value at a path such as `spec.containers.0.name` put in or, for DELETED, taken out."""
    draft: Any = json_copy(obj)
    part = draft
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        part = part[step] if isinstance(part, list) else part.setdefault(step, {})
    if value is DELETED:
        del part[last]
    elif isinstance(part, list) and last == len(part):
        part.append(value)
    else:
        part[last] = value
    result: dict[str, Any] = draft
    return result


def texts(errors: list[FieldError]) -> list[str]:
    return [str(error) for error in errors]
