"""Messages become the objects that JSON has for them. Unknown fields are skipped, as protobuf wants.

A field that cannot be absent and is empty is left out, as JSON does; what JSON writes nevertheless the schema's defaults put back.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson

from pilothouse.api.codec.errors import MalformedMessage
from pilothouse.api.codec.messages import Field, fields_of
from pilothouse.api.codec.wire import fields, read_varint, signed
from pilothouse.api.meta import Object, format_time

_MAX_DEPTH = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO: dict[str, Any] = {"s": "", "i": 0, "t": False, "b": "", "d": 0.0}


def decode_message(name: str, data: bytes, depth: int = 0) -> Any:
    """The value of a message: an object but for the few that are something else in JSON. Raises MalformedMessage, UnknownMessage,
    and what reading past an end or text that is no UTF-8 raises."""
    if depth > _MAX_DEPTH:
        raise MalformedMessage("the message is nested too deeply")
    special = _SPECIAL.get(name.rpartition(".")[2])
    if special is not None:
        return special(data, depth)
    declared = _by_number(name)
    obj: Object = {}
    for number, value in fields(data, 0, len(data)):
        field = declared.get(number)
        if field is not None:
            _set(obj, field, value, depth)
    return obj


def _set(obj: Object, field: Field, value: Any, depth: int) -> None:
    if field.mark == "*":
        items = obj.setdefault(field.name, [])
        if field.kind == "i" and isinstance(value, bytes):
            items += _packed(value)
        else:
            items.append(_value(field.kind, value, depth))
    elif field.mark == "{":
        key, item = _map_entry(field.kind, value, depth)
        obj.setdefault(field.name, {})[key] = item
    elif field.mark == "!":
        obj.update(_value(field.kind, value, depth))
    else:
        found = _value(field.kind, value, depth)
        if found is None or (not field.is_optional and field.kind != "b" and found in _NOTHING):
            obj.pop(field.name, None)
        else:
            obj[field.name] = found


def _map_entry(kind: str, data: bytes, depth: int) -> tuple[str, Any]:
    key = ""
    item: Any = _ZERO.get(kind)
    for number, value in fields(data, 0, len(data)):
        if number == 1:
            key = value.decode()
        elif number == 2:
            item = _value(kind, value, depth)
    return key, decode_message(kind, b"", depth + 1) if item is None and kind not in _ZERO else item


def _value(kind: str, value: Any, depth: int) -> Any:
    match kind:
        case "s":
            return value.decode()
        case "i":
            return signed(value)
        case "t":
            return bool(value)
        case "b":
            return b64encode(value).decode()
        case "d":
            return struct.unpack("<d", value)[0]
        case _:
            if not isinstance(value, bytes):
                raise MalformedMessage(f"a {kind} is not a number")
            return decode_message(kind, value, depth + 1)


def _packed(data: bytes) -> list[int]:
    """Repeated integers in one field, which other writers than Go's may send."""
    values = []
    position = 0
    while position < len(data):
        value, position = read_varint(data, position)
        values.append(signed(value))
    return values


def _parts(data: bytes) -> dict[int, Any]:
    return dict(fields(data, 0, len(data)))


def _time(data: bytes, depth: int) -> str | None:
    parts = _parts(data)
    return format_time(signed(parts.get(1, 0))) if parts else None


def _micro_time(data: bytes, depth: int) -> str | None:
    parts = _parts(data)
    if not parts:
        return None
    moment = _EPOCH + timedelta(seconds=signed(parts.get(1, 0)), microseconds=signed(parts.get(2, 0)) // 1000)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _quantity(data: bytes, depth: int) -> str:
    text: str = _parts(data).get(1, b"0").decode()
    return text


def _int_or_string(data: bytes, depth: int) -> int | str:
    parts = _parts(data)
    text: str = parts.get(3, b"").decode()
    return text if parts.get(1, 0) == 1 else signed(parts.get(2, 0))


def _json(data: bytes, depth: int) -> Any:
    raw = _parts(data).get(1, b"")
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise MalformedMessage(str(error)) from None


def _items(data: bytes, depth: int) -> list[str]:
    return [value.decode() for number, value in fields(data, 0, len(data)) if number == 1]


def _schema(data: bytes, depth: int) -> Any:
    return decode_message("apiextensions.v1.JSONSchemaProps", data, depth + 1)


def _schema_or_bool(data: bytes, depth: int) -> Any:
    parts = _parts(data)
    return _schema(parts[2], depth) if 2 in parts else bool(parts.get(1, 0))


def _schema_or_list(data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if 1 in parts:
        return _schema(parts[1], depth)
    return [_schema(value, depth) for number, value in fields(data, 0, len(data)) if number == 2]


def _schema_or_strings(data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if 1 in parts:
        return _schema(parts[1], depth)
    return [value.decode() for number, value in fields(data, 0, len(data)) if number == 2]


_SPECIAL = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "FieldsV1": _json,
    "RawExtension": _json,
    "JSON": _json,
    "Verbs": _items,
    "ExtraValue": _items,
    "JSONSchemaPropsOrBool": _schema_or_bool,
    "JSONSchemaPropsOrArray": _schema_or_list,
    "JSONSchemaPropsOrStringArray": _schema_or_strings,
}
"""Messages that are no objects in JSON."""
_NOTHING: tuple[Any, ...] = ("", 0, {})


@cache
def _by_number(name: str) -> dict[int, Field]:
    return {field.number: field for field in fields_of(name)}
