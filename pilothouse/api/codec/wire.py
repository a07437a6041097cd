"""The pieces that protobuf messages are written from. Source: protobuf's "Encoding"."""

from __future__ import annotations

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
    """What comes before a field: 0 varint, 1 eight bytes, 2 delimited."""
    return varint(number << 3 | wire_type)


def delimited(content: bytes) -> bytes:
    """Bytes with their length before them."""
    length = len(content)
    return _SHORT[length] + content if length < 128 else varint(length) + content
