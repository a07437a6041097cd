"""Whatever a client leaves out, validation answers with faults and never falls over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.path import FieldError
from pilothouse.api.resource import Resource
from pilothouse.api.schema import schema_of
from pilothouse.api.schema.types import Field, ListOf, MapOf, Scalar, Struct, Type, struct_of
from pilothouse.api.status import StatusError
from tests.api.validate.loaded import loaded

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["", "a", "A b", "1", "-", "/x", "50%", "Always", "Indexed", "RollingUpdate"]),
    "boolean": st.booleans(),
    "int32": st.sampled_from([0, -1, 1, 70000]),
    "int64": st.sampled_from([0, -1, 1, 70000]),
    "double": st.sampled_from([0.0, 1.5]),
    "quantity": st.sampled_from(["0", "1", "-1", "1Gi", "100m"]),
    "int-or-string": st.sampled_from([0, 1, "50%", "http", ""]),
    "byte": st.sampled_from(["", "YQ=="]),
    "time": st.just("2026-01-01T00:00:00Z"),
    "micro-time": st.just("2026-01-01T00:00:00.000000Z"),
}
STORED = [resource for resource in RESOURCES if resource.is_stored]


def values(draw: st.DrawFn, found: Type, depth: int) -> Any:
    if isinstance(found, Scalar):
        return draw(SCALARS.get(found.name, st.just({})))
    if isinstance(found, ListOf):
        return [values(draw, found.item, depth) for _ in range(draw(st.integers(0, 2)))] if depth else []
    if isinstance(found, MapOf):
        return {
            key: values(draw, found.value, depth)
            for key in draw(st.sets(st.sampled_from(["a", "cpu", "b c"]), max_size=2))
        }
    struct = struct_of(found)
    return struct_values(draw, struct, depth - 1) if struct is not None and depth else {}


def struct_values(draw: st.DrawFn, struct: Struct, depth: int) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(struct.fields)), max_size=5)) if struct.fields else set()
    fields: dict[str, Field] = {name: struct.fields[name] for name in names if not name.startswith("$")}
    return {name: values(draw, field.type, depth) for name, field in fields.items()}


@st.composite
def objects(draw: st.DrawFn, resource: Resource) -> dict[str, Any]:
    struct = schema_of(resource.gvr.api_version, resource.gvr.kind).struct
    parts = {
        name: values(draw, field.type, 6)
        for name, field in struct.fields.items()
        if name not in ("apiVersion", "kind", "metadata") and draw(st.booleans())
    }
    return {
        **parts,
        "apiVersion": resource.gvr.api_version,
        "kind": resource.gvr.kind,
        "metadata": {"name": "a", "namespace": "default", "uid": "u"},
    }


@pytest.mark.parametrize("resource", STORED, ids=[resource.gvr.kind for resource in STORED])
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_never_falls_over(resource: Resource, data: st.DataObject) -> None:
    try:
        one, two = (loaded(data.draw(objects(resource))) for _ in range(2))
    except StatusError:
        return
    for draft in (one, two):
        if "resourceVersion" not in draft["metadata"]:
            assert all(isinstance(error, FieldError) for error in resource.validate(draft))
    for errors in (resource.validate_update(one, two), resource.validate_status_update(one, two)):
        assert all(str(error) for error in errors)
