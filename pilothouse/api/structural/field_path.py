"""The `fieldPath` of a rule: where in a value the rule's fault is told. Source: apiextensions-apiserver `schema/cel/validation.go`."""

from __future__ import annotations

import re

from pilothouse.api.path import Path
from pilothouse.api.structural.schema import Structural

_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|[.\[\]]|[^.\[\]']+|'.*", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}
_unescape = re.compile(r"\\(.)", re.DOTALL).sub


def field_path(text: str, schema: Structural, *, allows_brackets: bool = True) -> tuple[Path, Structural]:
    """The place that `.spec.limits['a.b']` names below a value of `schema`, and its schema.

    Raises ValueError for one that there cannot be.
    """
    tokens = iter(_TOKEN.findall(text))
    path = Path()
    for token in tokens:
        if token not in (".", "["):
            raise ValueError(f"expected [ or . but got: {token}")
        if token == "[" and not allows_brackets:
            raise ValueError("array notation is not allowed")
        name = next(tokens, None)
        if name is None:
            raise ValueError("unexpected end of JSON path")
        if token == "[":
            if len(name) < 2 or not (name.startswith("'") and name.endswith("'")):
                raise ValueError(f"expected single quoted string but got {name}")
            name = _unescape(lambda match: _ESCAPES.get(match[1], match[0]), name[1:-1])
            if next(tokens, None) != "]":
                raise ValueError("expected ] after a quoted string")
        if schema.properties:
            if name not in schema.properties:
                raise ValueError("does not refer to a valid field")
            path, schema = path.child(name), schema.properties[name]
        elif isinstance(schema.additional, Structural):
            path, schema = path.key(name), schema.additional
        else:
            raise ValueError("does not refer to a valid field")
    return path, schema
