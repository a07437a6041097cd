"""What a CustomResourceDefinition says of a version beside its schema: columns, scale, fields to select by, deprecation.

Source: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pilothouse.api.path import FieldError, Path, duplicate, invalid, required, too_many
from pilothouse.api.structural.field_path import field_path
from pilothouse.api.structural.schema import parse

Part = Mapping[str, Any]
MAX_SELECTABLE_FIELDS = 8
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_TYPES = ("string", "boolean", "integer")


def deprecation_faults(version: Part, path: Path) -> Iterator[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield invalid(path, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode()) > 256:
        yield invalid(path, warning, "must be <= 256 characters long")
    if not warning:
        yield invalid(path, warning, "must not be an empty string")
    for index, letter in enumerate(warning):
        if not letter.isprintable():
            text = f"must only contain printable UTF-8 characters; non-printable character found at index {index}"
            yield invalid(path, warning, text)
            break


def scale_faults(scale: Part, path: Path) -> Iterator[FieldError]:
    for key, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        text = scale.get(key, "")
        if not text:
            yield required(path.child(key))
        elif fault := _simple_path_fault(text, path.child(key)):
            yield fault
        elif not text.startswith(start):
            yield invalid(path.child(key), text, f"should be a json path under {start[:-1]}")
    text = scale.get("labelSelectorPath") or ""
    place = path.child("labelSelectorPath")
    if text and (fault := _simple_path_fault(text, place)):
        yield fault
    elif text and not text.startswith((".spec.", ".status.")):
        yield invalid(place, text, "should be a json path under either .spec or .status")


def _simple_path_fault(text: str, path: Path) -> FieldError | None:
    return None if text.startswith(".") else invalid(path, text, "must be a simple json path starting with .")


def column_faults(column: Part, path: Path) -> Iterator[FieldError]:
    type_, format_, json_path = column.get("type", ""), column.get("format", ""), column.get("jsonPath", "")
    if not column.get("name"):
        yield required(path.child("name"))
    one_of = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not type_:
        yield required(path.child("type"), one_of)
    elif type_ not in _COLUMN_TYPES:
        yield invalid(path.child("type"), type_, one_of)
    if format_ and format_ not in _COLUMN_FORMATS:
        yield invalid(path.child("format"), format_, f"must be one of {','.join(_COLUMN_FORMATS)}")
    place = path.child("JSONPath")
    if not json_path:
        yield required(place)
    elif fault := _simple_path_fault(json_path, place):
        yield fault


def selectable_faults(fields: Sequence[Part], schema: Part, path: Path, *, may_be_many: bool) -> Iterator[FieldError]:
    structural = parse(schema)
    seen: set[str] = set()
    for index, field in enumerate(fields):
        text, place = field.get("jsonPath", ""), path.index(index).child("jsonPath")
        if not text:
            yield required(place)
            continue
        try:
            way, found = field_path(text, structural, allows_brackets=False)
        except ValueError as error:
            yield invalid(place, text, f"is an invalid path: {error}")
            continue
        if way.text.partition(".")[0] == "metadata":
            yield invalid(place, text, "must not point to fields in metadata")
        if found.type not in _SELECTABLE_TYPES:
            why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield invalid(place, text, why)
        if way.text in seen:
            yield duplicate(place, text)
        seen.add(way.text)
    if len(seen) > MAX_SELECTABLE_FIELDS and not may_be_many:
        yield too_many(path, len(seen), MAX_SELECTABLE_FIELDS)
