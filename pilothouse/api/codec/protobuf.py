"""Kubernetes' protobuf, read into the same objects as JSON: what typed Go clients such as `kubectl create` send.

An object travels in an envelope: `k8s\\0` and a `runtime.Unknown` with apiVersion, kind and the message's bytes. Field numbers come
from `protobuf_fields.txt`, which describes its own form in `tools/protobuf_fields.py`. Unknown fields are skipped, as protobuf wants.
Source: apimachinery `pkg/runtime/serializer/protobuf`, `pkg/runtime/generated.proto`.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import orjson

from pilothouse.api.meta import Object, format_micro_time, format_time

MAGIC = b"k8s\0"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAX_DEPTH = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MalformedMessage(ValueError):
    """The bytes are no message of the type that they should be."""


class _Field(NamedTuple):
    name: str
    kind: str
    mark: str
    """`*` repeated, `{` map, `!` merged into the outer object, or empty."""


_Message = dict[int, _Field]


def decode(data: bytes) -> Object:
    """The object in an envelope, with `apiVersion` and `kind` as it gives them. Raises MalformedMessage."""
    if not data.startswith(MAGIC):
        raise MalformedMessage("provided data does not appear to be a protobuf message, expected prefix k8s")
    api_version = kind = ""
    raw = b""
    try:
        for number, value in fields(data, len(MAGIC), len(data)):
            if number == 1:
                for inner, text in fields(value, 0, len(value)):
                    if inner == 1:
                        api_version = text.decode()
                    elif inner == 2:
                        kind = text.decode()
            elif number == 2:
                raw = value
        obj = _message(_name_of(api_version, kind), raw, 0)
    except (IndexError, struct.error, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise MalformedMessage(f"malformed protobuf message: {error}") from None
    if not isinstance(obj, dict):
        raise MalformedMessage("the message is not an object")
    return {"kind": kind, "apiVersion": api_version, **obj}


def _name_of(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    name = f"{group.partition('.')[0] or 'core'}.{version}.{kind}"
    if name not in _lines():
        # Options such as DeleteOptions may be sent under any group.
        name = f"meta.v1.{kind}"
    if name not in _lines():
        raise MalformedMessage(f'no kind "{kind}" is known for version "{api_version}"')
    return name


def _message(name: str, data: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise MalformedMessage("the message is nested too deeply")
    special = _SPECIAL.get(name.rpartition(".")[2])
    if special is not None:
        return special(data)
    declared = _fields_of(name)
    obj: Object = {}
    for number, value in fields(data, 0, len(data)):
        field = declared.get(number)
        if field is None:
            continue
        if field.mark == "*":
            obj.setdefault(field.name, []).append(_value(field.kind, value, depth))
        elif field.mark == "{":
            key, item = _map_entry(field.kind, value, depth)
            obj.setdefault(field.name, {})[key] = item
        elif field.mark == "!":
            obj.update(_message(field.kind, value, depth + 1))
        else:
            obj[field.name] = _value(field.kind, value, depth)
    return obj


def _map_entry(kind: str, data: bytes, depth: int) -> tuple[str, Any]:
    key = ""
    item: Any = _EMPTY.get(kind)
    for number, value in fields(data, 0, len(data)):
        if number == 1:
            key = value.decode()
        elif number == 2:
            item = _value(kind, value, depth)
    return key, _message(kind, b"", depth + 1) if item is None and kind not in _EMPTY else item


def _value(kind: str, value: Any, depth: int) -> Any:
    match kind:
        case "s":
            return value.decode()
        case "i":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "t":
            return bool(value)
        case "b":
            return b64encode(value).decode()
        case "d":
            return struct.unpack("<d", value)[0]
        case _:
            if not isinstance(value, bytes):
                raise MalformedMessage(f"a {kind} is not a number")
            return _message(kind, value, depth + 1)


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, Any]]:
    """Field numbers with integers or bytes, in the order of the message."""
    while position < end:
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if wire_type == _BYTES:
            length, position = _varint(data, position)
        elif wire_type == _FIXED64:
            length = 8
        elif wire_type == _FIXED32:
            length = 4
        else:
            raise MalformedMessage(f"wire type {wire_type} is not supported")
        if position + length > end:
            raise MalformedMessage("unexpected end of the message")
        yield tag >> 3, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise MalformedMessage("an integer is too long")


def _time(data: bytes) -> str | None:
    parts = dict(fields(data, 0, len(data)))
    return format_time(_signed(parts.get(1, 0))) if parts else None


def _micro_time(data: bytes) -> str | None:
    parts = dict(fields(data, 0, len(data)))
    return format_micro_time(_signed(parts.get(1, 0)) + parts.get(2, 0) / 1e9) if parts else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _quantity(data: bytes) -> str:
    text: str = dict(fields(data, 0, len(data))).get(1, b"0").decode()
    return text


def _int_or_string(data: bytes) -> int | str:
    parts = dict(fields(data, 0, len(data)))
    text: str = parts.get(3, b"").decode()
    return text if parts.get(1, 0) == 1 else _signed(parts.get(2, 0))


def _json(data: bytes) -> Any:
    raw = dict(fields(data, 0, len(data))).get(1, b"")
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise MalformedMessage(str(error)) from None


def _items(data: bytes) -> list[str]:
    return [value.decode() for number, value in fields(data, 0, len(data)) if number == 1]


_SPECIAL = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "FieldsV1": _json,
    "RawExtension": _json,
    "Verbs": _items,
    "ExtraValue": _items,
}
"""Messages that are no objects in JSON."""
_EMPTY: dict[str, Any] = {"s": "", "i": 0, "t": False, "b": "", "d": 0.0}


@cache
def _lines() -> dict[str, str]:
    """The table's lines by message; a line is taken apart when its message is first met."""
    text = (files(__package__) / "protobuf_fields.txt").read_text()
    return {name: rest for name, _, rest in (line.partition(" ") for line in text.splitlines())}


@cache
def _fields_of(name: str) -> _Message:
    try:
        line = _lines()[name]
    except KeyError:
        raise MalformedMessage(f"messages of type {name} cannot be read") from None
    message: _Message = {}
    for part in line.split():
        field, _, description = part.partition("=")
        number, _, kind = description.partition(":")
        mark = kind[0] if kind[0] in "*{" else "!" if kind.endswith("!") else ""
        message[int(number)] = _Field(field, kind.strip("*{!"), mark)
    return message
