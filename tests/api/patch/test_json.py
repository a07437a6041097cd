from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.patch import json as json_patch
from pilothouse.api.status import BadRequest, Invalid, RequestEntityTooLarge

POD = {"metadata": {"labels": {"a/b": "c"}}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}


@pytest.mark.parametrize("patch", [{}, "x", None, 1, ["x"], [[]]])
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
        {"op": "replace", "path": "/metadata/labels/x", "value": 1},
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "d"},
        {"op": "add", "path": "/spec/nodeSelector/x", "value": "y"},
        {"op": "add", "path": "/spec/containers/7", "value": {}},
        {"op": "add", "path": "/spec/containers/x", "value": {}},
        {"op": "add", "path": "spec", "value": {}},
        {"op": "add", "path": "/spec/x"},
        {"op": "add"},
        {"path": "/spec"},
        {"op": "jump", "path": "/spec"},
        {"op": "move", "path": "/spec"},
        {"op": "copy", "path": "/spec", "from": "/nowhere"},
        {"op": "replace", "path": "", "value": []},
        {"op": "test", "path": 3, "value": []},
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
