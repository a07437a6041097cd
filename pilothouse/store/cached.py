"""One object as the watch cache holds it: the bytes that go over the wire and what is needed to find it.

What the API server stores is the JSON of an object without its resourceVersion, which always begins
`{"kind":"K","apiVersion":"V","metadata":{"…`. The store gives the revision, and `splice` puts it in with one concatenation: objects
are neither decoded nor encoded on their way from the store to a client.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import orjson

from pilothouse.api.meta import Object
from pilothouse.kit.log import get_logger
from pilothouse.store.base import Revision

_METADATA = b'"metadata":{'
_VERSION = b'"resourceVersion":"'
_LABELS = b'"labels":{'
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def splice(value: bytes, revision: int) -> bytes:
    """The wire form of a stored value. Raises ValueError if there is no metadata."""
    start = value.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (value[:start], revision, value[start:])


def unsplice(wire: bytes) -> bytes:
    """The stored value of a wire form: the inverse of `splice`."""
    start, end = _version_span(wire)
    return wire[:start] + wire[end:]


def resplice(wire: bytes, revision: int) -> bytes:
    """The wire form with another resourceVersion."""
    start, end = _version_span(wire)
    return b'%b"resourceVersion":"%d",%b' % (wire[:start], revision, wire[end:])


def _version_span(wire: bytes) -> tuple[int, int]:
    start = wire.index(_METADATA) + len(_METADATA)
    return start, wire.index(b'",', start + len(_VERSION)) + 2


class Cached(msgspec.Struct, gc=False, eq=False):
    """An object at a revision. Immutable, shared by all readers; only the lazy parts (`fields`, `memo`) are filled in later."""

    key: str
    """The store's key."""
    namespace: str
    """Empty for a cluster-scoped object."""
    name: str
    revision: Revision
    wire: bytes
    """The object in JSON, resourceVersion included, in the version that is stored."""
    labels: Mapping[str, str]
    fields: tuple[str, ...] | None = None
    """The values of the resource's selectable fields, once a field selector has asked for them. Owned by the cacher."""
    memo: dict[Any, bytes] | None = None
    """Other encodings of the object, kept by whoever makes them, under a key of theirs. Costs nothing while None."""

    @property
    def resource_version(self) -> str:
        return str(self.revision)

    def object(self) -> Object:
        """The object, decoded anew at every call: the caller may change it."""
        decoded: Object = orjson.loads(self.wire)
        return decoded

    def value(self) -> bytes:
        """What is stored: the object without its resourceVersion."""
        return unsplice(self.wire)

    def at(self, revision: Revision) -> Cached:
        """The same object under another resourceVersion, as a deletion shows it."""
        return Cached(
            self.key, self.namespace, self.name, revision, resplice(self.wire, revision), self.labels, self.fields
        )


class _Metadata(msgspec.Struct, gc=False):
    labels: dict[str, str] | None = None


class _Envelope(msgspec.Struct, gc=False):
    metadata: _Metadata


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode


def read(key: str, namespace: str, name: str, value: bytes, revision: Revision) -> Cached:
    """The cached form of a stored value."""
    return Cached(key, namespace, name, revision, splice(value, revision), _labels_of(key, value))


def _labels_of(key: str, value: bytes) -> Mapping[str, str]:
    start = value.find(_LABELS)
    if start < 0:
        return _NO_LABELS
    try:
        before = value[value.index(_METADATA) + len(_METADATA) : start]
        if b"{" in before or b"}" in before:
            # Something else of the object may have labels, too.
            labels = _decode_envelope(value).metadata.labels
        else:
            labels = _decode_labels(value[start + len(_LABELS) - 1 : value.index(b"}", start) + 1])
    except msgspec.MsgspecError:
        get_logger("pilothouse.store.cached").error("stored object has labels that cannot be read", key=key)
        return _NO_LABELS
    if not labels:
        return _NO_LABELS
    intern = sys.intern
    return {intern(name): intern(text) for name, text in labels.items()}
