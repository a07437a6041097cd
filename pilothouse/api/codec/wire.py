"""The pieces that protobuf messages consist of. Source: protobuf's "Encoding"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilothouse.api.codec.errors import MalformedMessage

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""
_SHORT = tuple(bytes((number,)) for number in range(128))


def varint(value: int) -> bytes:
    """An integer; negative ones as 64 bits in two's complement, as `int32` and `int64` want it."""
    if 0 <= value < 128:
        return _SHORT[value]
    if value < 0:
        value += 1 << 64
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def tag(number: int, wire_type: int) -> bytes:
    """What comes before a field."""
    return varint(number << 3 | wire_type)


def delimited(content: bytes) -> bytes:
    """Bytes with their length before them."""
    length = len(content)
    return _SHORT[length] + content if length < 128 else varint(length) + content


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, Any]]:
    """Field numbers with integers or bytes, in the order of the message. Raises MalformedMessage, IndexError."""
    while position < end:
        tag, position = read_varint(data, position)
        wire_type = tag & 7
        if wire_type == VARINT:
            value, position = read_varint(data, position)
            yield tag >> 3, value
            continue
        if wire_type == BYTES:
            length, position = read_varint(data, position)
        else:
            length = fixed_length(wire_type)
        if position + length > end:
            raise MalformedMessage("unexpected EOF")
        yield tag >> 3, data[position : position + length]
        position += length


def fixed_length(wire_type: int) -> int:
    """How many bytes a value of a wire type has that does not say itself. Raises MalformedMessage."""
    if wire_type == FIXED64:
        return 8
    if wire_type == FIXED32:
        return 4
    raise MalformedMessage(f"wire type {wire_type} is not supported")


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned integer and where it ends. Raises MalformedMessage, IndexError."""
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


def signed(value: int) -> int:
    """An integer read, as the 64 bits with a sign that it was."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
