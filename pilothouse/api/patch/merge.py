"""JSON merge patch: `application/merge-patch+json`. Source: RFC 7386."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.status import BadRequest

_GO_TYPES = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}


def apply(obj: Mapping[str, Any], patch: Any) -> Object:
    """`obj` with the decoded `patch` merged into it.

    Neither argument is changed; the result shares with them what it did not have to rebuild. Raises BadRequest if the patch is no
    object.
    """
    if patch is None:
        raise BadRequest("Invalid JSON Patch")
    if not isinstance(patch, dict):
        kind = _GO_TYPES.get(type(patch), "value")
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    return _merged(obj, patch)


def _merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            present = result.get(key)
            result[key] = _merged(present if isinstance(present, dict) else {}, value)
        else:
            result[key] = value
    return result
