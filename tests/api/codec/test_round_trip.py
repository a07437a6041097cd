"""What is written as protobuf is read back as it was, for every kind and every field that the schema declares."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.codec import protobuf
from pilothouse.api.gvr import GVR
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.meta import Object
from pilothouse.api.schema.types import ListOf, MapOf, Scalar, Struct, Type, catalog, struct_of

_DEPTH = 9
_SCALARS: dict[str, tuple[Any, ...]] = {
    "string": ("a", "ü" * 100, "b" * 20_000),
    "boolean": (True,),
    "int32": (1, -1, 300, 2**31 - 1),
    "int64": (1, -1, 2**63 - 1, -(2**63)),
    "double": (0.5, -3.0),
    "byte": ("AAEC", "/w=="),
    "quantity": ("0", "1500m", "64Mi"),
    "time": ("2026-01-02T03:04:05Z", "1960-01-01T00:00:00Z"),
    "micro-time": ("2026-01-02T03:04:05.000006Z", "1969-12-31T23:59:59.999999Z"),
    "int-or-string": (5, "50%", 0, -1),
    "any": ({"type": "string"},),
    "object": ({"f:a": {'k:{"b":1}': {}}},),
}


def kinds() -> Iterator[GVR]:
    for resource in RESOURCES:
        for gvr in (resource.gvr, *resource.other_versions):
            if catalog().name_of(gvr.api_version, gvr.kind):
                yield gvr


class Writer:
    """Makes objects: all fields if `rng` is None, else some of them."""

    def __init__(self, rng: random.Random | None) -> None:
        self._rng = rng

    def object(self, struct: Struct, depth: int = 0) -> Object:
        obj: Object = {}
        for name, field in struct.fields.items():
            if self._rng is not None and self._rng.random() > 0.4:
                continue
            if depth and struct.kinds and name in ("kind", "apiVersion"):
                # An object within an object, such as a claim's template, has none in a message.
                continue
            if name == "status" and field.type == Scalar("object"):
                obj[name] = {}
            elif depth < _DEPTH or struct_of(field.type) is None:
                value = self.value(field.type, depth)
                if value is not None:
                    obj[name] = value
        return obj

    def value(self, type: Type, depth: int) -> Any:
        if isinstance(type, Scalar):
            values = _SCALARS[type.name]
            return values[0] if self._rng is None else self._rng.choice(values)
        if isinstance(type, ListOf | MapOf):
            if depth >= _DEPTH:
                return None
            items = [self.value(type.item if isinstance(type, ListOf) else type.value, depth + 1) for _ in range(2)]
            if None in items:
                return None
            return items if isinstance(type, ListOf) else dict(zip(("b", "a"), items, strict=True))
        struct = struct_of(type)
        assert struct is not None
        return self.object(struct, depth + 1)


def significant(value: Any) -> Any:
    """A value without what messages cannot leave out and JSON can: empty objects and zeros in fields."""
    if isinstance(value, dict):
        found = {key: significant(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in ({}, 0, "0")}
    return [significant(item) for item in value] if isinstance(value, list) else value


def check(gvr: GVR, rng: random.Random | None) -> None:
    name = catalog().name_of(gvr.api_version, gvr.kind)
    assert name is not None
    obj = Writer(rng).object(catalog().struct(name)) | {"kind": gvr.kind, "apiVersion": gvr.api_version}
    data = protobuf.encode(obj)
    again = protobuf.decode(data)
    assert significant(again) == significant(obj)
    assert protobuf.encode(again) == data


@pytest.mark.parametrize("gvr", list(kinds()), ids=str)
def test_every_field(gvr: GVR) -> None:
    check(gvr, None)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(kinds())), st.integers(0, 2**32))
def test_some_fields(gvr: GVR, seed: int) -> None:
    check(gvr, random.Random(seed))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(kinds())), st.integers(0, 2**32), st.data())
def test_damaged_messages_are_refused_or_read(gvr: GVR, seed: int, data: st.DataObject) -> None:
    struct = catalog().struct(catalog().name_of(gvr.api_version, gvr.kind) or "")
    rng = random.Random(seed)
    obj = Writer(rng).object(struct, _DEPTH - 2) | {"kind": gvr.kind, "apiVersion": gvr.api_version}
    damaged = bytearray(protobuf.encode(obj))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[rng.randrange(4, len(damaged))] = rng.randrange(256)
    try:
        protobuf.decode(bytes(damaged))
    except protobuf.MalformedMessage:
        return
