"""Whatever a client sends is either refused in the API's own words or brought into a form that stays."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.kinds.table import by_kind
from pilothouse.api.patch import merge
from pilothouse.api.schema import Schema, schema_of
from pilothouse.api.schema.types import ListOf, MapOf, Scalar, Type, struct_of
from pilothouse.api.status import BadRequest

KINDS = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "Node"),
]

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "1", "100m", "1Gi", "eA==", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+01:00"]),
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["", "a", "TCP", "None"]),
    "boolean": st.booleans(),
    "int32": st.integers(-5, 5),
    "int64": st.integers(-5, 5),
    "byte": st.sampled_from(["", "eA=="]),
    "quantity": st.sampled_from(["1", "100m", "1024Mi", 2, 0.5]),
    "int-or-string": st.one_of(st.integers(0, 5), st.just("25%")),
    "time": st.just("2026-01-01T00:00:00+01:00"),
    "micro-time": st.just("2026-01-01T00:00:00.5Z"),
    "object": st.just({"a": None}),
}


def values(found: Type, depth: int) -> st.SearchStrategy[Any]:
    """Mostly what a field holds, sometimes anything."""
    if isinstance(found, Scalar):
        fitting = FITTING.get(found.name, LEAVES)
    elif depth == 0:
        fitting = st.just([] if isinstance(found, ListOf) else {})
    elif isinstance(found, ListOf):
        fitting = st.lists(values(found.item, depth - 1), max_size=2)
    elif isinstance(found, MapOf):
        fitting = st.dictionaries(st.sampled_from(["a", "cpu"]), values(found.value, depth - 1), max_size=2)
    else:
        struct = struct_of(found)
        assert struct is not None
        names = sorted(struct.fields)
        fitting = st.lists(st.sampled_from(names), max_size=3, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries({name: values(struct.fields[name].type, depth - 1) for name in chosen})
        )
    return st.integers(0, 19).flatmap(lambda dice: LEAVES if dice == 0 else fitting)


@pytest.mark.parametrize(("api_version", "kind"), KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_object_is_refused_or_settles(api_version: str, kind: str, data: st.DataObject) -> None:
    schema = schema_of(api_version, kind)
    obj = data.draw(
        st.fixed_dictionaries({name: values(field.type, 5) for name, field in schema.struct.fields.items()})
    )
    try:
        schema.load(obj)
    except BadRequest:
        return
    once = orjson.dumps(obj)
    assert schema.load(obj) == []
    assert orjson.dumps(obj) == once
    schema.default(obj)
    resource = by_kind(api_version, kind)
    assert resource is not None
    obj["metadata"] |= {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    resource.prepare_create(obj)
    resource.warnings(obj)
    for column in resource.columns:
        column.cell(obj, 1.8e9)


def objects(schema: Schema) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {}, optional={name: values(field.type, 4) for name, field in schema.struct.fields.items()}
    )


def settled(schema: Schema, obj: Any, like: Any = None) -> Any:
    """Warnings and the object that is kept, or the refusal."""
    try:
        warnings = schema.load(obj, like=like)
        schema.default(obj, like=like)
    except BadRequest as error:
        return error.message
    return warnings, obj


@pytest.mark.parametrize(("api_version", "kind"), KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_a_patch_leaves_alone_need_not_be_read_again(api_version: str, kind: str, data: st.DataObject) -> None:
    schema = schema_of(api_version, kind)
    stored, patch = data.draw(objects(schema)), data.draw(objects(schema))
    if isinstance(settled(schema, stored), str):
        return
    patched = merge.apply(stored, patch)
    whole = settled(schema, orjson.loads(orjson.dumps(patched)))
    assert settled(schema, patched, stored) == whole
