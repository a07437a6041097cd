"""JSON patch: `application/json-patch+json`. Source: RFC 6902; upstream's limits and answers: apiserver `endpoints/handlers/patch.go`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.status import BadRequest, Cause, Invalid, RequestEntityTooLarge
from pilothouse.api.view import json_copy

MAX_OPERATIONS = 10_000

_NOT_A_PATCH = "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp"
_REJECTED = "the server rejected our request due to an error in our request"


def apply(obj: Mapping[str, Any], patch: Any) -> Object:
    """`obj` after the operations of the decoded `patch`, all of them or none; neither argument is changed.

    Raises BadRequest for what is no patch, RequestEntityTooLarge for one with too many operations, and Invalid, with the operation
    at fault as its cause, for one that cannot be applied to `obj`.
    """
    if not isinstance(patch, list):
        raise BadRequest(_NOT_A_PATCH.format("object" if isinstance(patch, dict) else "value"))
    for operation in patch:
        if not isinstance(operation, dict):
            raise BadRequest("error decoding patch: an operation of a JSON patch must be an object")
    if len(patch) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    import jsonpatch  # a quarter of a server's memory is what nobody has used yet
    import jsonpointer

    draft: Any = json_copy(obj)
    for position, operation in enumerate(patch):
        try:
            draft = jsonpatch.JsonPatch([operation]).apply(draft, in_place=True)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, ValueError) as error:
            raise Invalid(_REJECTED, causes=[_cause(position, operation, error)]) from None
    if not isinstance(draft, dict):
        raise Invalid(
            _REJECTED, causes=[Cause("FieldValueInvalid", "the patch replaces the object by another type", "patch")]
        )
    return draft


def _cause(position: int, operation: Mapping[str, Any], error: Exception) -> Cause:
    return Cause("FieldValueInvalid", _why(operation, error), f"patch[{position}]")


def _why(operation: Mapping[str, Any], error: Exception) -> str:
    """Why an operation cannot be applied, in the words of the library that upstream uses (evanphx/json-patch)."""
    kind, path = str(operation.get("op", "")), str(operation.get("path", ""))
    is_missing = type(error).__name__ in ("JsonPointerException", "JsonPatchConflict")
    match kind:
        case "test":
            return f"testing value {path} failed: test failed"
        case "remove" if type(error).__name__ == "JsonPatchConflict":
            key = path.rpartition("/")[2]
            return f"error in remove for path: '{path}': unable to remove nonexistent key: {key}: missing value"
        case "add" | "remove" if is_missing:
            return f'{kind} operation does not apply: doc is missing path: "{path}": missing value'
        case "replace" if is_missing:
            return f"replace operation does not apply: doc is missing key: {path}: missing value"
        case "add" | "remove" | "replace" | "move" | "copy":
            return f"{kind} {path}: {str(error) or type(error).__name__}"
    return f"Unexpected kind: {kind}"
