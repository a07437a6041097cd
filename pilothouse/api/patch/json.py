"""JSON patch: `application/json-patch+json`. Source: RFC 6902; upstream's limits and answers: apiserver `endpoints/handlers/patch.go`.

Where upstream's library (evanphx/json-patch v4) goes beyond the RFC or falls short of it, so does this: a member that is missing is null
to `replace`, `copy` and `test`; an index may count from the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.status import BadRequest, Cause, Invalid, RequestEntityTooLarge
from pilothouse.api.view import json_copy

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024
"""By how much the copies of one patch may let an object grow."""
_REJECTED = "the server rejected our request due to an error in our request"
_TEXTS = ("op", "path", "from")
FIELDS = (*_TEXTS, "value")
_FROM, _DESTINATION = "from path: {}", "destination path: {}"
_is_index = re.compile(r"[-+]?[0-9]+").fullmatch


class Inapplicable(Exception):
    """An operation that cannot be done on the object; why, in the words of upstream's library."""


class _Unfit(Exception):
    """What holds a value has no such key or place."""


def apply(obj: Mapping[str, Any], patch: Any) -> Object:
    """`obj` after the operations of the decoded `patch`, all of them or none; neither argument is changed.

    Raises BadRequest for what is no patch, RequestEntityTooLarge for one with too many operations, and Invalid, with the operation
    at fault as its cause, for one that cannot be applied to `obj`.
    """
    operations = _operations(patch)
    draft = _Draft(json_copy(obj))
    for position, operation in enumerate(operations):
        try:
            draft.do(operation)
        except Inapplicable as error:
            raise Invalid(_REJECTED, causes=[Cause("FieldValueInvalid", str(error), f"patch[{position}]")]) from None
    if not isinstance(draft.value, dict):
        raise Invalid(
            _REJECTED, causes=[Cause("FieldValueInvalid", "the patch replaces the object by another type", "patch")]
        )
    return draft.value


def _operations(patch: Any) -> list[Mapping[str, Any]]:
    if patch is None:
        return []
    if not isinstance(patch, list):
        raise _undecodable(patch, "value of type []handlers.jsonPatchOp")
    for operation in patch:
        if operation is None:
            continue
        if not isinstance(operation, dict):
            raise _undecodable(operation, "value of type handlers.jsonPatchOp")
        for field in _TEXTS:
            value = operation.get(field)
            if value is not None and not isinstance(value, str):
                raise _undecodable(value, f"struct field jsonPatchOp.{field} of type string")
    if len(patch) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    return [operation or {} for operation in patch]


def _undecodable(value: Any, target: str) -> BadRequest:
    kinds = {dict: "object", list: "array", str: "string", bool: "bool"}
    kind = kinds.get(type(value), "number")
    return BadRequest(f"error decoding patch: json: cannot unmarshal {kind} into Go {target}")


class _Draft:
    """The object while it is patched."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._copied_bytes = 0
        self._kinds: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "add": self._add,
            "remove": self._remove,
            "replace": self._replace,
            "move": self._move,
            "copy": self._copy,
            "test": self._test,
        }

    def do(self, operation: Mapping[str, Any]) -> None:
        """Raises Inapplicable."""
        kind = operation.get("op") or ""
        act = self._kinds.get(kind)
        if act is None:
            raise Inapplicable(f"Unexpected kind: {kind}")
        try:
            act(operation)
        except _Unfit as error:
            raise Inapplicable(f"error in {kind} for path: '{operation.get('path') or ''}': {error}") from None

    def _find(self, operation: Mapping[str, Any], field: str = "path", words: str = 'path: "{}"') -> tuple[Any, str]:
        """What holds the value at a path, and the value's key in it."""
        kind, path = operation["op"], operation.get(field)
        if path is None:
            raise Inapplicable(f"{kind} operation failed to decode {field}: missing value")
        missing = Inapplicable(f"{kind} operation does not apply: doc is missing {words.format(path)}: missing value")
        head, *parts = path.split("/")
        if head or not parts:
            raise missing
        holder = self.value
        for part in parts[:-1]:
            try:
                holder = _get(holder, _decoded(part))
            except _Unfit:
                raise missing from None
            if not isinstance(holder, dict | list):
                raise missing
        return holder, _decoded(parts[-1])

    def _add(self, operation: Mapping[str, Any]) -> None:
        holder, key = self._find(operation)
        _insert(holder, key, _copied(operation.get("value")))

    def _remove(self, operation: Mapping[str, Any]) -> None:
        holder, key = self._find(operation)
        _take(holder, key)

    def _replace(self, operation: Mapping[str, Any]) -> None:
        value = _copied(operation.get("value"))
        if operation.get("path") == "":
            if not isinstance(value, dict | list):
                raise Inapplicable("replace operation value must be object or array")
            self.value = value
            return
        holder, key = self._find(operation, words="path: {}")
        if isinstance(holder, dict):
            holder[key] = value
            return
        try:
            holder[_index(key, len(holder))] = value
        except _Unfit:
            path = operation["path"]
            raise Inapplicable(f"replace operation does not apply: doc is missing key: {path}: missing value") from None

    def _move(self, operation: Mapping[str, Any]) -> None:
        holder, key = self._find(operation, "from", _FROM)
        value = _take(holder, key)
        holder, key = self._find(operation, words=_DESTINATION)
        _insert(holder, key, value)

    def _copy(self, operation: Mapping[str, Any]) -> None:
        holder, key = self._find(operation, "from", _FROM)
        text = orjson.dumps(_get(holder, key))
        self._copied_bytes += len(text)
        if self._copied_bytes > MAX_COPIED_BYTES:
            raise Inapplicable(
                f"Unable to complete the copy, the accumulated size increase of copy is {self._copied_bytes}, "
                f"exceeding the limit {MAX_COPIED_BYTES}"
            )
        holder, key = self._find(operation, words=_DESTINATION)
        _insert(holder, key, orjson.loads(text))

    def _test(self, operation: Mapping[str, Any]) -> None:
        if operation.get("path") == "":
            found = self.value
        else:
            holder, key = self._find(operation, words="path: {}")
            found = _get(holder, key)
        if _canonical(found) != _canonical(operation.get("value")):
            raise Inapplicable(f"testing value {operation['path']} failed: test failed")


def _copied(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def _decoded(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _index(key: str, length: int) -> int:
    if not _is_index(key):
        raise _Unfit(f"value was not a proper array index: '{key}'")
    if not -length <= int(key) < length:
        raise _Unfit(f"Unable to access invalid index: {key}: invalid index referenced")
    return int(key) % length


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, dict) else holder[_index(key, len(holder))]


def _take(holder: Any, key: str) -> Any:
    if isinstance(holder, dict):
        if key not in holder:
            raise _Unfit(f"Unable to remove nonexistent key: {key}: missing value")
        return holder.pop(key)
    return holder.pop(_index(key, len(holder)))


def _insert(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    elif key == "-":
        holder.append(value)
    else:
        holder.insert(_index(key, len(holder) + 1), value)
