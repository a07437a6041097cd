"""The slow pass over an object that a client sent: what is wrong with it, and where.

It removes fields that are not declared, converts values that have another spelling (times, quantities, nulls in lists), and raises
`WrongType` for a value that cannot be read. Its texts are those of upstream's JSON decoder, which clients show and match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson

from pilothouse.api import quantity
from pilothouse.api.meta import Object
from pilothouse.api.schema.load import is_base64, is_micro_time, is_time
from pilothouse.api.schema.types import DATA, ListOf, MapOf, Scalar, Struct, Type, struct_of

MAX_REPORTED = 100
"""Unknown fields beyond this number are removed without being named."""

_GO_SCALARS = {
    "string": "string",
    "boolean": "bool",
    "int32": "int32",
    "int64": "int64",
    "double": "float64",
    "byte": "[]uint8",
    "object": "map[string]interface {}",
}
_GO_KINDS = {bool: "bool", int: "int64", float: "float64", str: "string", list: "slice", dict: "map"}
_ZERO: dict[str, Any] = {
    "string": "",
    "byte": "",
    "boolean": False,
    "quantity": "0",
    "object": {},
    "any": None,
    "time": None,
    "micro-time": None,
}
"""What a null in a list or a map stands for, where that is not 0."""
_RANGES = {"int32": 0x80000000, "int64": 0x8000000000000000}


class WrongType(Exception):
    """A value that its field cannot hold; the text is the decoder's, `restoring` that of upstream's conversion of maps to objects."""

    def __init__(self, text: str, restoring: str = "") -> None:
        super().__init__(text)
        self.restoring = restoring or text


class Repair:
    """One pass over one object. `unknown` gathers the paths of the fields that were removed."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def struct(self, struct: Struct, obj: Object, path: str, fields: tuple[str, ...]) -> None:
        """Repairs `obj` in place. `path` has list indices, `fields` has not: the decoder's two ways to name a place."""
        called = go_names().get(struct.name, _NOTHING)
        for key in list(obj):
            field = struct.fields.get(key)
            here = f"{path}.{key}" if path else key
            if field is None:
                if struct.preserves_unknown:
                    continue
                if len(self.unknown) < MAX_REPORTED:
                    self.unknown.append(here)
                del obj[key]
            elif obj[key] is None:
                if field.presence != "null":
                    del obj[key]
            else:
                *embedded, named = called.get(key, ("",))
                place = (struct.go_name, *fields[1:], *embedded, key)
                obj[key] = self._value(field.type, obj[key], here, place, named)

    def _value(self, found: Type, value: Any, path: str, fields: tuple[str, ...], named: str) -> Any:
        """`named` is what Go calls the type, if not as `go_type` does."""
        if isinstance(found, Scalar):
            return _scalar(found.name, value, fields, named)
        if isinstance(found, ListOf):
            if not isinstance(value, list):
                raise _wrong(value, fields, named or go_type(found), _not_restored("slice", value))
            of_item = named.removeprefix("[]") if named.startswith("[]") else ""
            return [
                _zero(found.item)
                if item is None
                else self._value(found.item, item, f"{path}[{index}]", fields, of_item)
                for index, item in enumerate(value)
            ]
        if not isinstance(value, dict):
            what = "map" if isinstance(found, MapOf) else "struct"
            raise _wrong(value, fields, named or go_type(found), _not_restored(what, value))
        if isinstance(found, MapOf):
            of_value = named.partition("]")[2] if named.startswith("map[") else ""
            return {
                key: _zero(found.value)
                if item is None
                else self._value(found.value, item, f"{path}.{key}", fields, of_value)
                for key, item in value.items()
            }
        struct = struct_of(found)
        assert struct is not None
        self.struct(struct, value, path, fields)
        return value


_NOTHING: Mapping[str, Sequence[str]] = {}


@cache
def go_names() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """By definition and field: the structs that the field is embedded by, and last the name of its type, empty if it has none."""
    names: Mapping[str, Mapping[str, Sequence[str]]] = orjson.loads((DATA / "go_names.json").read_bytes())
    return names


def go_type(found: Type) -> str:
    """The type as the decoder names it, such as `[]v1.Container`."""
    if isinstance(found, Scalar):
        return _GO_SCALARS.get(found.name, found.name)
    if isinstance(found, ListOf):
        return f"[]{go_type(found.item)}"
    if isinstance(found, MapOf):
        return f"map[string]{go_type(found.value)}"
    struct = struct_of(found)
    assert struct is not None
    return ".".join(struct.name.split(".")[-2:])


def _zero(found: Type) -> Any:
    if isinstance(found, Scalar):
        return dict(zero) if isinstance(zero := _ZERO.get(found.name, 0), dict) else zero
    return [] if isinstance(found, ListOf) else {}


def _scalar(name: str, value: Any, fields: tuple[str, ...], named: str) -> Any:
    special = _SPECIAL.get(name)
    if special is not None:
        if name in ("time", "micro-time") and not isinstance(value, str):
            raise _wrong(
                value, fields, "string", f"json: cannot unmarshal {_json_name(value)} into Go value of type string"
            )
        return special(value)
    if name == "any":
        return value
    match value:
        case bool():
            fits = name == "boolean"
        case int():
            fits = name == "double" or (name in _RANGES and -_RANGES[name] <= value < _RANGES[name])
        case float():
            fits = name == "double"
        case str():
            fits = name in ("string", "byte")
        case _:
            fits = name == "object" and isinstance(value, dict)
    if not fits:
        raise _wrong(
            value, fields, named or _GO_SCALARS[name], _not_converted(name, value), shows_number=name in _RANGES
        )
    if name == "byte":
        _check_bytes(value)
    return value


def _wrong(value: Any, fields: tuple[str, ...], type_: str, restoring: str, *, shows_number: bool = False) -> WrongType:
    what = _json_name(value)
    if what == "number" and shows_number:
        what = f"number {value}"
    return WrongType(
        f"json: cannot unmarshal {what} into Go struct field {'.'.join(fields)} of type {type_}", restoring
    )


def _not_restored(what: str, value: Any) -> str:
    return f"cannot restore {what} from{':' if what == 'struct' else ''} {_GO_KINDS[type(value)]}"


def _not_converted(name: str, value: Any) -> str:
    if name == "byte":
        return _not_restored("slice", value)
    if name == "object":
        return ""
    numbers = ("int32", "int64", "double")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (name in numbers or (name == "string" and isinstance(value, int))):
        return f"cannot convert {_GO_KINDS[type(value)]} to {_GO_SCALARS[name]}"
    return f"unrecognized type: {_GO_SCALARS[name]}"


def _json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _check_bytes(text: str) -> None:
    # Line breaks inside base64 are read over, as Go does.
    compact = text.replace("\n", "").replace("\r", "")
    if is_base64(compact) is not None:
        return
    good = next(
        (
            at
            for at, letter in enumerate(text)
            if not (letter.isalnum() and letter.isascii()) and letter not in "+/\r\n"
        ),
        len(text),
    )
    raise WrongType(
        f"illegal base64 data at input byte {min(good, len(compact) // 4 * 4 if good == len(text) else good)}"
    )


def _quantity(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        text = ""
    try:
        return str(quantity.parse(text))
    except ValueError as error:
        raise WrongType(str(error)) from None


def _int_or_string(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not -0x80000000 <= value <= 0x7FFFFFFF:
        what = f"number {value}" if _json_name(value) == "number" else _json_name(value)
        raise WrongType(f"json: cannot unmarshal {what} into Go value of type int32")
    return value


def _time(value: Any) -> str:
    return _moment(value, "2006-01-02T15:04:05Z07:00", is_time, "seconds").replace("+00:00", "Z")


_has_microseconds = re.compile(r".{19}\.[0-9]{6}(?:Z|[-+].*)").fullmatch


def _micro_time(value: Any) -> str:
    layout = "2006-01-02T15:04:05.000000Z07:00"
    text = _moment(value, layout, is_micro_time, "microseconds").replace("+00:00", "Z")
    if not _has_microseconds(value):
        raise WrongType(f'parsing time "{value}" as "{layout}": cannot parse "{value[19:]}" as ".000000"')
    return text


def _moment(value: Any, layout: str, is_canonical: Callable[[str], object], precision: str) -> str:
    if not isinstance(value, str):
        raise WrongType(f"json: cannot unmarshal {_json_name(value)} into Go value of type string")
    if is_canonical(value):
        return value
    try:
        if "T" not in value or (value[-1:] != "Z" and value[-6:-5] not in ("+", "-")):
            raise ValueError(value)
        return datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec=precision)
    except ValueError:
        raise WrongType(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"') from None


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "quantity": _quantity,
    "int-or-string": _int_or_string,
    "time": _time,
    "micro-time": _micro_time,
}
