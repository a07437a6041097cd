"""Strategic merge patch, by a schema like a pod template's: `items` merge by `name`, `tags` are a set, `args` are replaced."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.patch import strategic
from pilothouse.api.patch.strategic import PatchField
from pilothouse.api.schema.schema import schema_of
from pilothouse.api.status import BadRequest, StatusError


class Table:
    """A schema in which an item can hold whatever an object can."""

    def patch_field(self, name: str) -> PatchField | None:
        return {
            "items": PatchField(self, "merge", "name"),
            "tags": PatchField(None, "merge"),
            "args": PatchField(None),
            "plain": PatchField(self),
            "whole": PatchField(None, "replace"),
            "child": PatchField(self),
            "labels": PatchField(None),
        }.get(name)


def apply(obj: Any, patch: Any) -> Any:
    return strategic.apply(obj, patch, Table())


def items(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("obj", "patch", "code", "message"),
    [
        ({}, [], 400, "cannot unmarshal array"),
        ({}, None, 400, "cannot unmarshal null"),
        ({}, {"$patch": "smash"}, 500, "unknown patch type: smash in map: map[$patch:smash]"),
        ({"child": {}}, {"child": {"$patch": "merge", "a": 1}}, 500, "unknown patch type: merge in map: map[$patch:merge a:1]"),
        ({"items": items("a")}, {"items": [{"value": "b"}]}, 500, "map: map[value:b] does not contain declared merge key: name"),
        ({"items": items("a")}, {"items": [{"$patch": "delete"}]}, 500, "does not contain declared merge key: name"),
        ({"items": items("a")}, {"items": [{"$patch": "merge"}]}, 500, "merging lists cannot yet be specified in the patch"),
        ({"items": items("a")}, {"items": [{"$patch": "x"}]}, 500, "unknown patch type: x"),
        ({"items": items("a")}, {"items": ["a"]}, 500, "list element types are not identical"),
        ({"tags": [1]}, {"tags": [[1]]}, 422, "the server rejected our request"),
        ({}, {"$deleteFromPrimitiveList": [1]}, 400, "invalid patch format of primitive list"),
        ({}, {"$setElementOrderx/items": []}, 400, "invalid patch format of setElementOrder list"),
        ({}, {"$setElementOrder/items": {}}, 500, "expected a []interface {}, but received a map[string]interface {}"),
        ({"items": items("a")}, {"$setElementOrder/items": items("a"), "items": 3}, 500, "but received a int64"),
        ({}, {"$setElementOrder/nothing": []}, 500, 'unable to find api field "nothing"'),
        (
            {"items": items("a", "b")},
            {"$setElementOrder/items": items("a", "b"), "items": items("b", "a")},
            500,
            "doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]",
        ),
        ({"tags": [1]}, {"$setElementOrder/tags": [1], "tags": [1, 2]}, 500, "The order in patch list:\n[1 2]"),
        ({}, {"$retainKeys": "a"}, 400, "invalid patch format of retainKeys"),
        ({}, {"$retainKeys": ["a"], "b": 1}, 400, "invalid patch format of retainKeys"),
    ],
)  # fmt: skip
def test_bad_patches(obj: Any, patch: Any, code: int, message: str) -> None:
    with pytest.raises(StatusError) as raised:
        apply(obj, patch)
    assert raised.value.status_code == code
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("obj", "patch", "result"),
    [
        # Maps
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {}),
        ({}, {"a": None, "child": {"b": None, "args": [{"c": None}]}}, {"child": {"args": [{}]}}),
        ({"labels": {"a": "1", "b": "2"}}, {"labels": {"b": None, "c": "3"}}, {"labels": {"a": "1", "c": "3"}}),
        ({"a": 1, "b": 2}, {"$patch": "replace", "b": 3}, {"b": 3}),
        ({"child": {"a": 1}}, {"child": {"$patch": "delete"}}, {"child": {}}),
        ({"child": {"a": 1}, "b": 1}, {"child": {"$patch": "replace", "c": 1}}, {"child": {"c": 1}, "b": 1}),
        ({"b": 1}, {"child": {"$patch": "replace", "c": 1}}, {"b": 1}),
        ({"whole": {"a": 1}}, {"whole": {"b": 1}}, {"whole": {"b": 1}}),
        ({"child": "text"}, {"child": {"a": 1, "b": None}}, {"child": {"a": 1}}),
        ({"child": {"a": 1}}, {"child": [1]}, {"child": [1]}),
        # Retained keys
        ({"a": 1, "b": 2, "c": 3}, {"$retainKeys": ["a", "d"], "d": 4}, {"a": 1, "d": 4}),
        ({"a": 1, "b": 2}, {"$retainKeys": ["b"], "a": None, "b": 3}, {"b": 3}),
        ({"child": {"a": 1}}, {"child": {"$retainKeys": ["b"], "b": 2}}, {"child": {"b": 2}}),
        # Lists that are replaced
        ({"args": [1, 2]}, {"args": [3]}, {"args": [3]}),
        ({"plain": items("a")}, {"plain": items("b")}, {"plain": items("b")}),
        # Sets of scalars
        ({"tags": [1, 2]}, {"tags": [2, 3]}, {"tags": [1, 2, 3]}),
        ({"tags": [1, 2, 3]}, {"$deleteFromPrimitiveList/tags": [1, 3, 9]}, {"tags": [2]}),
        ({"args": [1, 2, 3]}, {"$deleteFromPrimitiveList/args": [1]}, {"args": [2, 3]}),
        ({}, {"$deleteFromPrimitiveList/tags": [1]}, {}),
        ({"tags": [1, 2]}, {"$deleteFromPrimitiveList/tags": [1], "tags": [3]}, {"tags": [3, 2]}),
        ({"tags": [1, 2, 3]}, {"$setElementOrder/tags": [3, 1, 2]}, {"tags": [3, 1, 2]}),
        ({"tags": [1, 2, 3]}, {"$setElementOrder/tags": [4, 1], "tags": [4]}, {"tags": [4, 1, 2, 3]}),
        # Lists of maps
        ({"items": items("a")}, {"items": items("b")}, {"items": items("b", "a")}),
        ({"items": [{"name": "a", "x": 1}]}, {"items": [{"name": "a", "y": 2}]}, {"items": [{"name": "a", "x": 1, "y": 2}]}),
        ({"items": [{"name": "a", "x": 1}]}, {"items": [{"name": "a", "x": None}]}, {"items": items("a")}),
        ({"items": items("a", "b")}, {"items": [{"name": "a", "$patch": "delete"}]}, {"items": items("b")}),
        ({"items": items("a", "b")}, {"items": [{"name": "c"}, {"$patch": "replace"}]}, {"items": items("c")}),
        ({"items": items("a")}, {"items": [{"$patch": "replace"}]}, {"items": []}),
        ({}, {"items": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}, {"items": items("b")}),
        (
            {"items": [{"name": "a", "items": items("x", "y")}]},
            {"items": [{"name": "a", "items": [{"name": "x", "$patch": "delete"}, {"name": "z"}]}]},
            {"items": [{"name": "a", "items": items("z", "y")}]},
        ),
        # Order
        ({"items": items("a", "b", "c")}, {"$setElementOrder/items": items("c", "a")}, {"items": items("b", "c", "a")}),
        (
            {"items": items("1", "2", "3")},
            {"$setElementOrder/items": items("2", "4", "1"), "items": [{"name": "4"}, {"name": "1", "x": 1}]},
            {"items": [{"name": "2"}, {"name": "4"}, {"name": "1", "x": 1}, {"name": "3"}]},
        ),
        ({}, {"$setElementOrder/items": items("b", "a"), "items": items("b", "a")}, {"items": items("b", "a")}),
        ({}, {"$setElementOrder/items": items("b", "a")}, {}),
        (
            {"items": items("1", "2", "4")},
            {"$setElementOrder/items": items("2", "3"), "items": [{"name": "3"}, {"name": "1", "$patch": "delete"}]},
            {"items": items("2", "4", "3")},
        ),
        (
            {"items": items("a", "b")},
            {"$setElementOrder/items": [], "items": [{"name": "a", "$patch": "delete"}, {"name": "b", "$patch": "delete"}]},
            {"items": []},
        ),
    ],
)  # fmt: skip
def test_merges(obj: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((obj, patch))
    merged = apply(obj, patch)
    assert merged == result
    assert (obj, patch) == before


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@st.composite
def _objects(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "items": [{"name": name, "tags": draw(NAMES)} for name in draw(NAMES)],
        "tags": draw(NAMES),
        "labels": dict.fromkeys(draw(NAMES), "x"),
    }


@given(_objects(), _objects())
def test_pure_idempotent_and_complete(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy((obj, patch))
    once = apply(obj, patch)
    assert (obj, patch) == before
    assert apply(obj, {}) == obj
    assert apply(once, patch) == once
    assert set(once["tags"]) == {*obj["tags"], *patch["tags"]}
    assert {each["name"] for each in once["items"]} == {each["name"] for each in [*obj["items"], *patch["items"]]}


@given(NAMES, NAMES)
def test_the_order_asked_for_is_the_order_given(present: list[str], wanted: list[str]) -> None:
    patch = {"$setElementOrder/items": items(*wanted), "items": items(*wanted)}
    merged = [each["name"] for each in apply({"items": items(*present)}, patch)["items"]]
    assert [name for name in merged if name in wanted] == wanted
    others = [name for name in present if name not in wanted]
    assert [name for name in merged if name not in wanted] == others


def test_errors_of_the_format_are_bad_requests() -> None:
    with pytest.raises(BadRequest):
        apply({}, {"$retainKeys": {}})


def test_built_in_types() -> None:
    schema = strategic.schema_of_struct(schema_of("v1", "Pod").struct)
    pod = {
        "metadata": {"labels": {"a": "1"}, "finalizers": ["x/a"], "ownerReferences": [{"uid": "1"}]},
        "spec": {
            "containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}], "args": ["x"]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    }
    patch = {
        "metadata": {"labels": {"b": "2"}, "finalizers": ["x/b"], "ownerReferences": [{"uid": "1", "kind": "K"}]},
        "spec": {
            "containers": [
                {"name": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}], "args": ["y"]}
            ],
            "volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}],
        },
    }
    assert strategic.apply(pod, patch, schema) == {
        "metadata": {
            "labels": {"a": "1", "b": "2"}, "finalizers": ["x/b", "x/a"], "ownerReferences": [{"uid": "1", "kind": "K"}]
        },
        "spec": {
            "containers": [
                {"name": "a", "image": "i", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}], "args": ["y"]}
            ],
            "volumes": [{"name": "v", "configMap": {"name": "c"}}],
        },
    }  # fmt: skip
