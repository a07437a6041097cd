from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.patch import json as json_patch
from pilothouse.api.status import BadRequest, Invalid, RequestEntityTooLarge

POD = {"metadata": {"labels": {"a/b": "c"}}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}


@pytest.mark.parametrize("patch", [{}, "x", 1, ["x"], [[]], [{"op": "test", "path": 3}], [{"op": 1}]])
def test_a_patch_is_a_list_of_objects(patch: Any) -> None:
    with pytest.raises(BadRequest):
        json_patch.apply(POD, patch)


def test_too_many_operations() -> None:
    operation = {"op": "test", "path": "/spec", "value": {}}
    with pytest.raises(
        RequestEntityTooLarge, match="The allowed maximum operations in a JSON patch is 10000, got 10001"
    ):
        json_patch.apply(POD, [operation] * 10_001)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/metadata/annotations"},
        {"op": "remove", "path": "/metadata/labels/x"},
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "d"},
        {"op": "add", "path": "/spec/nodeSelector/x", "value": "y"},
        {"op": "add", "path": "/spec/containers/7", "value": {}},
        {"op": "add", "path": "/spec/containers/x", "value": {}},
        {"op": "add", "path": "spec", "value": {}},
        {"op": "add", "path": "/spec/containers/-4", "value": {}},
        {"op": "add"},
        {},
        {"path": "/spec"},
        {"op": "jump", "path": "/spec"},
        {"op": "move", "path": "/spec"},
        {"op": "copy", "path": "/spec", "from": "/nowhere/else"},
        {"op": "replace", "path": "", "value": []},
        {"op": "replace", "path": "/spec/containers/2", "value": {}},
        {"op": "test", "path": "/spec/containers/0/name", "value": True},
    ],
)
def test_what_cannot_be_applied_is_invalid_and_changes_nothing(operation: Any) -> None:
    first = {"op": "add", "path": "/metadata/labels/new", "value": "x"}
    with pytest.raises(Invalid) as raised:
        json_patch.apply(POD, [first, operation])
    assert raised.value.message == "the server rejected our request due to an error in our request"
    assert raised.value.status_code == 422
    assert "new" not in POD["metadata"]["labels"]


def test_operations() -> None:
    patched = json_patch.apply(
        POD,
        [
            {"op": "test", "path": "/metadata/labels/a~1b", "value": "c"},
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "c"}},
            {"op": "remove", "path": "/spec/containers/0"},
            {"op": "replace", "path": "/metadata/labels/a~1b", "value": "d"},
            {"op": "copy", "from": "/metadata/labels", "path": "/metadata/annotations"},
            {"op": "move", "from": "/spec/containers/1", "path": "/spec/containers/0"},
        ],
    )
    assert patched == {
        "metadata": {"labels": {"a/b": "d"}, "annotations": {"a/b": "d"}},
        "spec": {"containers": [{"name": "c"}, {"name": "b"}]},
    }
    assert POD["metadata"] == {"labels": {"a/b": "c"}}


def test_where_upstream_differs_from_the_standard() -> None:
    patched = json_patch.apply(
        POD,
        [
            {"op": "replace", "path": "/metadata/labels/x", "value": 1},
            {"op": "copy", "from": "/metadata/none", "path": "/metadata/null"},
            {"op": "test", "path": "/metadata/none", "value": None},
            {"op": "add", "path": "/metadata/empty"},
            {"op": "remove", "path": "/spec/containers/-1"},
            {"op": "add", "path": "/spec/containers/01", "value": {"name": "z"}},
        ],
    )
    assert patched["metadata"] == {"labels": {"a/b": "c", "x": 1}, "null": None, "empty": None}
    assert patched["spec"]["containers"] == [{"name": "a"}, {"name": "z"}]
    assert json_patch.apply(POD, None) == POD


def test_equal_numbers_of_different_types_are_not_the_same() -> None:
    for value, other in ((1, 1.0), (1, True), (0, False)):
        with pytest.raises(Invalid):
            json_patch.apply({"a": value}, [{"op": "test", "path": "/a", "value": other}])


def test_copies_are_bounded() -> None:
    copies = [{"op": "copy", "from": "/big", "path": f"/{i}"} for i in range(4)]
    with pytest.raises(Invalid):
        json_patch.apply({"big": "x" * 1_000_000}, copies)


@pytest.mark.parametrize("empty", [[], {}, 0, False])
@pytest.mark.parametrize("field", ["op", "path", "from"])
def test_what_is_no_text_is_none_also_where_it_is_empty(field: str, empty: Any) -> None:
    operation = {"op": "move", "path": "/a", "from": "/b", field: empty}
    with pytest.raises(BadRequest, match=f"jsonPatchOp.{field} of type string"):
        json_patch.apply({"b": 1}, [operation])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab-/~01"), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.lists(st.sampled_from(["a", "b", "0", "1", "-1", "-", "~1", "~", ""]), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]) | VALUES,
        "path": PATHS | VALUES,
        "from": PATHS,
        "value": VALUES,
    },
)


@given(st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2), st.lists(OPERATIONS | VALUES, max_size=4) | VALUES)
def test_any_patch_is_applied_or_refused(obj: dict[str, Any], patch: Any) -> None:
    before = orjson.dumps(obj)
    with contextlib.suppress(BadRequest, Invalid):
        assert isinstance(json_patch.apply(obj, patch), dict)
    assert orjson.dumps(obj) == before
