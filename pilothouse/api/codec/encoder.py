"""Objects become messages, byte for byte as upstream's generated code writes them: by field number, maps by key, and the empty value
of every field that cannot be absent.

A message's encoder is made when it is first needed: the bytes of an object in which nothing is set, and a writer for each key. To
encode is to go over the keys that there are.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson

from pilothouse.api.codec.messages import Field, fields_of
from pilothouse.api.codec.wire import BYTES, FIXED64, VARINT, delimited, tag, varint
from pilothouse.kit.remembered import remembered

Encode = Callable[[Any], bytes]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIRE_TYPES = {"i": VARINT, "t": VARINT, "d": FIXED64}


@cache
def encoder_of(name: str) -> Encode:
    """What encodes the objects of a message, without an envelope. Raises UnknownMessage, here or when it is used."""
    return _SPECIAL.get(name.rpartition(".")[2]) or _object_encoder(name)


def _object_encoder(name: str) -> Encode:
    template: list[bytes] = []
    writers: dict[str, tuple[int, Encode]] = {}
    inner: dict[str, int] = {}
    inner_writers: dict[int, Encode] = {}
    for index, field in enumerate(fields_of(name)):
        write = _writer(field)
        template.append(_empty(field))
        if field.mark == "!":
            inner_writers[index] = write
            inner.update(dict.fromkeys(_names_of(field.kind), index))
        else:
            writers[field.name] = (index, write)
    writer_of = writers.get

    def encode(obj: Mapping[str, Any]) -> bytes:
        parts = template.copy()
        for key, value in obj.items():
            found = writer_of(key)
            if found is not None and value is not None:
                parts[found[0]] = found[1](value)
        return b"".join(parts)

    def encode_with_inner(obj: Mapping[str, Any]) -> bytes:
        parts = template.copy()
        groups: dict[int, dict[str, Any]] = {}
        for key, value in obj.items():
            found = writer_of(key)
            if value is None:
                continue
            if found is not None:
                parts[found[0]] = found[1](value)
            elif key in inner:
                groups.setdefault(inner[key], {})[key] = value
        for index, group in groups.items():
            parts[index] = inner_writers[index](group)
        return b"".join(parts)

    return encode_with_inner if inner else encode


def _names_of(name: str) -> set[str]:
    """The keys in JSON of a message's fields."""
    names: set[str] = set()
    for field in fields_of(name):
        names |= _names_of(field.kind) if field.mark == "!" else {field.name}
    return names


def _empty(field: Field) -> bytes:
    """What is written of a field that JSON has not."""
    if field.mark in ("*", "{") or field.is_optional or field.kind == "b":
        return b""
    prefix = tag(field.number, _WIRE_TYPES.get(field.kind, BYTES))
    if field.kind == "d":
        return prefix + bytes(8)
    if field.kind in ("s", "i", "t"):
        return prefix + b"\0"
    kind = field.kind.rpartition(".")[2]
    if kind in _LISTS:
        return b""
    return prefix + delimited(_NOTHING[kind] if kind in _NOTHING else encoder_of(field.kind)({}))


def _writer(field: Field) -> Encode:
    """What writes a field, its tag included."""
    prefix = tag(field.number, BYTES if field.mark in ("*", "{") else _WIRE_TYPES.get(field.kind, BYTES))
    if field.mark == "{":
        return _map_writer(prefix, field.kind)
    if field.mark == "*":
        each = _value_writer(tag(field.number, _WIRE_TYPES.get(field.kind, BYTES)), field.kind)
        return lambda values: b"".join(map(each, values))
    return _value_writer(prefix, field.kind)


def _map_writer(prefix: bytes, kind: str) -> Encode:
    write_key = _value_writer(tag(1, BYTES), "s")
    write_value = _value_writer(tag(2, _WIRE_TYPES.get(kind, BYTES)), kind)

    def write(mapping: Mapping[str, Any]) -> bytes:
        parts = []
        for key, value in sorted(mapping.items()):
            entry = write_key(key) + write_value(value)
            parts.append(b"%b%b%b" % (prefix, varint(len(entry)), entry))
        return b"".join(parts)

    return write


def _value_writer(prefix: bytes, kind: str) -> Encode:
    match kind:
        case "s":
            heads = _heads(prefix)

            def write_text(text: str) -> bytes:
                content = text.encode()
                length = len(content)
                return heads[length] + content if length < 128 else prefix + varint(length) + content

            return write_text
        case "i":
            return lambda number: prefix + varint(int(number))
        case "t":
            yes, no = prefix + b"\1", prefix + b"\0"
            return lambda value: yes if value else no
        case "d":
            return lambda number: prefix + struct.pack("<d", number)
        case "b":
            return lambda text: prefix + delimited(b64decode(text))
        case _:
            return _message_writer(prefix, kind)


def _message_writer(prefix: bytes, kind: str) -> Encode:
    heads = _heads(prefix)
    encode: Encode | None = None

    def write(value: Any) -> bytes:
        nonlocal encode
        if encode is None:
            # Not before: messages contain themselves.
            encode = encoder_of(kind)
        content = encode(value)
        length = len(content)
        return heads[length] + content if length < 128 else b"%b%b%b" % (prefix, varint(length), content)

    return write


@cache
def _heads(prefix: bytes) -> tuple[bytes, ...]:
    """A tag with each of the lengths that are one byte."""
    return tuple(prefix + bytes((length,)) for length in range(128))


@remembered(256)
def _time(text: str | None) -> bytes:
    """`metav1.Time`, whose fractions of a second are not kept. A map may hold times that are null."""
    if text is None:
        return b""
    seconds = (datetime.fromisoformat(text) - _EPOCH).total_seconds()
    return b"\x08%b\x10\x00" % varint(int(seconds // 1))


def _micro_time(text: str) -> bytes:
    since = datetime.fromisoformat(text) - _EPOCH
    return b"\x08%b\x10%b" % (varint(since.days * 86400 + since.seconds), varint(since.microseconds * 1000))


def _quantity(value: str | float) -> bytes:
    return b"\n" + delimited(str(value).encode())


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00\x1a" + delimited(value.encode())
    return b"\x08\x00\x10%b\x1a\x00" % varint(int(value))


def _json(value: Any) -> bytes:
    return b"\n" + delimited(orjson.dumps(value))


def _list(values: list[str]) -> bytes:
    return b"".join(b"\n" + delimited(text.encode()) for text in values)


def _schema(value: Any) -> bytes:
    return delimited(encoder_of("apiextensions.v1.JSONSchemaProps")(value))


def _schema_or_bool(value: Any) -> bytes:
    # A schema that is given stands for "true" as well.
    return b"\x08%b" % varint(int(value)) if isinstance(value, bool) else b"\x08\x01\x12" + _schema(value)


def _schema_or_list(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(b"\x12" + _schema(item) for item in value)
    return b"\n" + _schema(value)


def _schema_or_strings(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(b"\x12" + delimited(item.encode()) for item in value)
    return b"\n" + _schema(value)


_SPECIAL: Mapping[str, Encode] = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "FieldsV1": _json,
    "RawExtension": _json,
    "JSON": _json,
    "Verbs": _list,
    "ExtraValue": _list,
    "JSONSchemaPropsOrBool": _schema_or_bool,
    "JSONSchemaPropsOrArray": _schema_or_list,
    "JSONSchemaPropsOrStringArray": _schema_or_strings,
}
"""Messages that are no objects in JSON."""
_NOTHING = {
    "Time": b"",
    "MicroTime": b"",
    "Quantity": _quantity("0"),
    "IntOrString": _int_or_string(0),
    "FieldsV1": b"",
    "RawExtension": b"",
    "JSON": b"",
}
"""What stands for their absence where a field must be there."""
_LISTS = ("Verbs", "ExtraValue")
