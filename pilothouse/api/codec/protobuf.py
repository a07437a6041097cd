"""Kubernetes' protobuf: the same objects as in JSON, in the form that Go clients such as client-go's informers prefer.

An object travels in an envelope: `k8s\\0` and a `runtime.Unknown` with apiVersion, kind and the message's bytes. A watch is a
sequence of frames, each a length in four bytes and a `WatchEvent`, whose object is in an envelope.
Source: apimachinery `pkg/runtime/serializer/protobuf`, `pkg/runtime/generated.proto`, `pkg/util/framer`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pilothouse.api.codec.decoder import decode_message
from pilothouse.api.codec.encoder import encoder_of
from pilothouse.api.codec.errors import MalformedMessage, UnknownKind, UnknownMessage
from pilothouse.api.codec.messages import message_name
from pilothouse.api.codec.wire import delimited, fields, varint
from pilothouse.api.meta import Object

MAGIC = b"k8s\0"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

__all__ = [
    "MAGIC",
    "MEDIA_TYPE",
    "Envelope",
    "ListWriter",
    "MalformedMessage",
    "UnknownKind",
    "UnknownMessage",
    "decode",
    "encode",
    "frame",
]


def decode(data: bytes) -> Object:
    """The object in an envelope, with `apiVersion` and `kind` as it gives them. Raises MalformedMessage."""
    if not data:
        raise MalformedMessage("empty data")
    if not data.startswith(MAGIC):
        prefix = " ".join(map(str, MAGIC))
        raise MalformedMessage(f"provided data does not appear to be a protobuf message, expected prefix [{prefix}]")
    if len(data) == len(MAGIC):
        raise MalformedMessage("empty body")
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
        obj = decode_message(message_name(api_version, kind), raw)
    except MalformedMessage:
        raise
    except UnknownMessage:
        raise UnknownKind(api_version, kind) from None
    except IndexError:
        raise MalformedMessage("unexpected EOF") from None
    except (struct.error, ValueError, OverflowError, OSError, AttributeError, TypeError) as error:
        raise MalformedMessage(f"malformed protobuf message: {error}") from None
    if not isinstance(obj, dict):
        raise MalformedMessage("the message is not an object")
    return {"kind": kind, "apiVersion": api_version, **obj}


def encode(obj: Mapping[str, Any]) -> bytes:
    """An object in its envelope. Raises UnknownMessage for a kind that has no message."""
    return _envelope(obj.get("apiVersion", ""), obj.get("kind", "")).encode(obj)


class ListWriter:
    """Writes a list of objects of one kind, one after the other. Raises UnknownMessage for a kind that has no message."""

    __slots__ = ("_encode", "_envelope", "_parts")

    def __init__(self, api_version: str, kind: str, metadata: Mapping[str, Any]) -> None:
        self._envelope = _envelope(api_version, f"{kind}List")
        self._encode = encoder_of(message_name(api_version, kind))
        self._parts = [b"\n" + delimited(encoder_of("meta.v1.ListMeta")(metadata))]

    def add(self, obj: Mapping[str, Any]) -> None:
        content = self._encode(obj)
        self._parts.append(b"\x12%b%b" % (varint(len(content)), content))

    def finish(self) -> bytes:
        """The list in its envelope."""
        return self._envelope.of(b"".join(self._parts))


class Envelope:
    """Writes objects of one kind. Raises UnknownMessage for a kind that has no message."""

    __slots__ = ("_encode", "_head")

    def __init__(self, api_version: str, kind: str) -> None:
        self._encode = encoder_of(message_name(api_version, kind))
        type_meta = b"\n" + delimited(api_version.encode()) + b"\x12" + delimited(kind.encode())
        self._head = MAGIC + b"\n" + delimited(type_meta) + b"\x12"

    def encode(self, obj: Mapping[str, Any]) -> bytes:
        return self.of(self._encode(obj))

    def of(self, message: bytes) -> bytes:
        """A message in its envelope; neither contentEncoding nor contentType are given."""
        return b"%b%b\x1a\0\x22\0" % (self._head, delimited(message))


_envelope = lru_cache(maxsize=512)(Envelope)


def frame(type: str, enveloped: bytes) -> bytes:
    """An event of a watch."""
    content = b"\n" + delimited(enveloped)
    event = b"\n%b\x12%b" % (delimited(type.encode()), delimited(content))
    return len(event).to_bytes(4, "big") + event
