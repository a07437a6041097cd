"""Messages become the objects that JSON has for them. Unknown fields are skipped, as protobuf wants.

A field that cannot be absent and is empty is left out, as JSON does; what JSON writes nevertheless the schema's defaults put back.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson

from pilothouse.api.codec.errors import MalformedMessage
from pilothouse.api.codec.messages import Field, fields_of
from pilothouse.api.codec.wire import BYTES, VARINT, fields, fixed_length, read_varint, signed
from pilothouse.api.meta import Object, format_time

_MAX_DEPTH = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO: dict[str, Any] = {"s": "", "i": 0, "t": False, "b": "", "d": 0.0}
Read = Callable[[bytes, int], Any]
"""From the bytes of a message and how deeply it is nested to its value in JSON."""
_Store = Callable[[Object, Any, int], None]
"""Puts the number or the bytes of a field into an object."""


def decode_message(name: str, data: bytes) -> Any:
    """The value of a message: an object but for the few that are something else in JSON. Raises MalformedMessage, UnknownMessage,
    and what reading past an end or text that is no UTF-8 raises."""
    return _reader_of(name)(data, 0)


@cache
def _reader_of(name: str) -> Read:
    return _SPECIAL.get(name.rpartition(".")[2]) or _object_reader(name)


def _object_reader(name: str) -> Read:
    stores = {field.number: _store(field) for field in fields_of(name)}
    store_of = stores.get

    def read(data: bytes, depth: int) -> Object:
        if depth > _MAX_DEPTH:
            raise MalformedMessage("the message is nested too deeply")
        obj: Object = {}
        position, end = 0, len(data)
        # `fields` spelled out: most of a message's cost would be its iteration.
        while position < end:
            tag = data[position]
            position += 1
            if tag > 127:
                tag, position = read_varint(data, position - 1)
            wire_type = tag & 7
            value: Any
            if wire_type == VARINT:
                value = data[position]
                position += 1
                if value > 127:
                    value, position = read_varint(data, position - 1)
            else:
                if wire_type == BYTES:
                    length = data[position]
                    position += 1
                    if length > 127:
                        length, position = read_varint(data, position - 1)
                else:
                    length = fixed_length(wire_type)
                stop = position + length
                if stop > end:
                    raise MalformedMessage("unexpected EOF")
                value = data[position:stop]
                position = stop
            store = store_of(tag >> 3)
            if store is not None:
                store(obj, value, depth)
        return obj

    return read


def _store(field: Field) -> _Store:
    name, kind = field.name, field.kind
    if field.mark == "*":
        return _list_store(name, kind)
    if field.mark == "{":
        return _map_store(name, kind)
    if field.mark == "!":
        return lambda obj, value, depth: obj.update(_message(kind, value, depth))
    if kind in _ZERO:
        return _scalar_store(name, kind, keeps_zero=field.is_optional or kind == "b")

    def store(obj: Object, value: Any, depth: int) -> None:
        found = _message(kind, value, depth)
        if found is None or (not field.is_optional and found in _NOTHING):
            obj.pop(name, None)
        else:
            obj[name] = found

    return store


def _scalar_store(name: str, kind: str, *, keeps_zero: bool) -> _Store:
    read = _SCALARS[kind]
    zero = _ZERO[kind]

    def store(obj: Object, value: Any, depth: int) -> None:
        found = read(value)
        if keeps_zero or found != zero:
            obj[name] = found
        else:
            obj.pop(name, None)

    return store


def _list_store(name: str, kind: str) -> _Store:
    def store(obj: Object, value: Any, depth: int) -> None:
        items = obj.setdefault(name, [])
        if kind == "i" and isinstance(value, bytes):
            items += _packed(value)
        else:
            items.append(_value(kind, value, depth))

    return store


def _map_store(name: str, kind: str) -> _Store:
    def store(obj: Object, entry: Any, depth: int) -> None:
        key = ""
        item: Any = _ZERO.get(kind)
        for number, value in fields(entry, 0, len(entry)):
            if number == 1:
                key = value.decode()
            elif number == 2:
                item = _value(kind, value, depth)
        if item is None and kind not in _ZERO:
            item = _message(kind, b"", depth)
        obj.setdefault(name, {})[key] = item

    return store


def _value(kind: str, value: Any, depth: int) -> Any:
    read = _SCALARS.get(kind)
    return _message(kind, value, depth) if read is None else read(value)


def _message(kind: str, value: Any, depth: int) -> Any:
    if not isinstance(value, bytes):
        raise MalformedMessage(f"a {kind} is not a number")
    return _reader_of(kind)(value, depth + 1)


def _bool(value: int) -> bool:
    return value > 0


def _double(value: bytes) -> float:
    number: float = struct.unpack("<d", value)[0]
    return number


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


_SCALARS: dict[str, Callable[[Any], Any]] = {"s": bytes.decode, "i": signed, "t": _bool, "b": _base64, "d": _double}


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
    return _message("apiextensions.v1.JSONSchemaProps", data, depth)


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


_SPECIAL: dict[str, Read] = {
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
