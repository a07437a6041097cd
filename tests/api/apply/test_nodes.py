"""How typed values are owned, compared and merged."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.apply.check import joined, problems
from pilothouse.api.apply.structs import StructNode, struct_node
from pilothouse.api.schema import schema_of
from tests.api.apply.shorthand import fields, shown


def node(api_version: str, kind: str) -> StructNode:
    return struct_node(schema_of(api_version, kind).struct)


POD, DEPLOYMENT, CONFIG_MAP = node("v1", "Pod"), node("apps/v1", "Deployment"), node("v1", "ConfigMap")
SERVICE, VOLUME = node("v1", "Service"), node("v1", "PersistentVolume")


def spec(**values: Any) -> dict[str, Any]:
    return {"spec": values}


COMPARISONS: list[tuple[str, StructNode, Any, Any, set[str], set[str]]] = [
    ("scalar changed", DEPLOYMENT, spec(replicas=1), spec(replicas=2), {"spec/replicas"}, set()),
    ("scalar added", DEPLOYMENT, spec(), spec(replicas=2), {"spec/replicas"}, set()),
    ("scalar removed", DEPLOYMENT, spec(replicas=1), spec(), set(), {"spec/replicas"}),
    ("map added", CONFIG_MAP, {}, {"data": {"a": "b"}}, {"data", "data/a"}, set()),
    ("map removed", CONFIG_MAP, {"data": {"a": "b"}}, {}, set(), {"data", "data/a"}),
    ("map emptied", CONFIG_MAP, {"data": {"a": "b"}}, {"data": {}}, set(), {"data/a"}),
    ("key of a map", CONFIG_MAP, {"data": {"a": "b"}}, {"data": {"a": "c", "d": ""}}, {"data/a", "data/d"}, set()),
    (
        "atomic object",
        DEPLOYMENT,
        spec(selector={"matchLabels": {"a": "b"}}),
        spec(selector={"matchLabels": {"a": "c"}}),
        {"spec/selector"},
        set(),
    ),
    ("atomic object in a pod", SERVICE, spec(selector={"a": "b"}), spec(selector={"a": "c"}), {"spec/selector"}, set()),
    (
        "an object made granular by its field",
        VOLUME,
        spec(claimRef={"name": "a"}),
        spec(claimRef={"name": "b"}),
        {"spec/claimRef/name"},
        set(),
    ),
    (
        "item added to a list that is always there",
        POD,
        spec(),
        spec(containers=[{"name": "c"}]),
        {"spec/containers/name=c", "spec/containers/name=c/name"},
        set(),
    ),
    (
        "list that comes into being",
        POD,
        spec(),
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
        {"spec/volumes", "spec/volumes/name=v", "spec/volumes/name=v/name", "spec/volumes/name=v/emptyDir"},
        set(),
    ),
    (
        "order does not matter",
        POD,
        spec(containers=[{"name": "a"}, {"name": "b"}]),
        spec(containers=[{"name": "b"}, {"name": "a"}]),
        set(),
        set(),
    ),
    (
        "field of an item",
        POD,
        spec(containers=[{"name": "a", "image": "x"}, {"name": "b"}]),
        spec(containers=[{"name": "b"}, {"name": "a", "image": "y"}]),
        {"spec/containers/name=a/image"},
        set(),
    ),
    (
        "item removed",
        POD,
        spec(containers=[{"name": "a"}, {"name": "b"}]),
        spec(containers=[{"name": "b"}]),
        set(),
        {"spec/containers/name=a", "spec/containers/name=a/name"},
    ),
    (
        "two keys, one by default",
        POD,
        spec(containers=[{"name": "a"}]),
        spec(containers=[{"name": "a", "ports": [{"containerPort": 80}]}]),
        {
            "spec/containers/name=a/ports",
            "spec/containers/name=a/ports/containerPort=80,protocol=TCP",
            "spec/containers/name=a/ports/containerPort=80,protocol=TCP/containerPort",
        },
        set(),
    ),
    (
        "set",
        POD,
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata/finalizers/=c"},
        {"metadata/finalizers/=a"},
    ),
    (
        "items that are atomic",
        POD,
        {"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]}},
        {"metadata": {"ownerReferences": [{"uid": "1", "name": "b"}]}},
        {"metadata/ownerReferences/uid=1"},
        set(),
    ),
    (
        "duplicates before and after",
        POD,
        {"metadata": {"finalizers": ["a", "a"]}},
        {"metadata": {"finalizers": ["a", "a", "a"]}},
        {"metadata/finalizers/=a"},
        set(),
    ),
    (
        "duplicates that come",
        POD,
        spec(containers=[{"name": "a"}]),
        spec(containers=[{"name": "a"}, {"name": "a"}]),
        {"spec/containers/name=a"},
        {"spec/containers/name=a/name"},
    ),
    (
        "duplicates that go",
        POD,
        spec(containers=[{"name": "a"}, {"name": "a"}]),
        spec(containers=[{"name": "a"}]),
        {"spec/containers/name=a", "spec/containers/name=a/name"},
        set(),
    ),
    ("atomic list", DEPLOYMENT, spec(x=1), spec(x=1), set(), set()),
]


@pytest.mark.parametrize(("old", "new", "changed", "removed", "typed"), [
    pytest.param(old, new, changed, removed, typed, id=name) for name, typed, old, new, changed, removed in COMPARISONS
])  # fmt: skip
def test_comparing(old: Any, new: Any, changed: set[str], removed: set[str], typed: StructNode) -> None:
    found_changed: dict[str, Any] = {}
    found_removed: dict[str, Any] = {}
    typed.compare(old, new, found_changed, found_removed)
    assert (shown(found_changed), shown(found_removed)) == (changed, removed)


@pytest.mark.parametrize(
    ("typed", "config", "owned"),
    [
        (CONFIG_MAP, {"data": {"a": "b"}}, {"data/a"}),
        (CONFIG_MAP, {"data": {}}, {"data"}),
        (CONFIG_MAP, {"data": None}, {"data"}),
        (POD, spec(containers=[]), set()),
        (POD, spec(containers=[{"name": "a"}]), {"spec/containers/name=a", "spec/containers/name=a/name"}),
        (POD, spec(volumes=[{"name": "v", "emptyDir": {}}]), {
            "spec/volumes/name=v", "spec/volumes/name=v/name", "spec/volumes/name=v/emptyDir",
        }),
        (SERVICE, spec(ports=[{"port": 80}]), {"spec/ports/port=80,protocol=TCP", "spec/ports/port=80,protocol=TCP/port"}),
        (SERVICE, spec(selector={"a": "b"}), {"spec/selector"}),
        (POD, {"metadata": {"finalizers": ["x"]}}, {"metadata/finalizers/=x"}),
    ],
)  # fmt: skip
def test_what_a_configuration_owns(typed: StructNode, config: Any, owned: set[str]) -> None:
    assert shown(typed.applied(config) or {}) == owned


def items(text: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, **more} for name in text]


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ("abc", "", "abc"),
        ("", "abc", "abc"),
        ("abc", "b", "abc"),
        ("abc", "cab", "cab"),
        ("abc", "ba", "bca"),
        ("ab", "xy", "abxy"),
        ("axb", "ba", "xba"),
        ("abcd", "xby", "axbcdy"),
        ("abc", "xa", "xabc"),
        ("ac", "abc", "abc"),
    ],
)
def test_the_order_of_merged_lists(live: str, config: str, merged: str) -> None:
    found = POD.merge(spec(containers=items(live, image="1")), spec(containers=items(config)))
    assert "".join(item["name"] for item in found["spec"]["containers"]) == merged
    assert all(item.get("image") == "1" for item in found["spec"]["containers"] if item["name"] in live)


@pytest.mark.parametrize(
    ("typed", "live", "config", "merged"),
    [
        (CONFIG_MAP, {"data": {"a": "b"}}, {"data": {"c": "d"}}, {"data": {"a": "b", "c": "d"}}),
        (CONFIG_MAP, {"data": {"a": "b"}}, {"data": {}}, {"data": {"a": "b"}}),
        (CONFIG_MAP, {"data": {"a": "b"}}, {"data": None}, {"data": {"a": "b"}}),
        (CONFIG_MAP, {"data": {"a": "b"}}, {"immutable": None}, {"data": {"a": "b"}, "immutable": None}),
        (SERVICE, spec(selector={"a": "b"}), spec(selector={"c": "d"}), spec(selector={"c": "d"})),
        (POD, {"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"finalizers": ["c"]}}, {"metadata": {"finalizers": ["a", "b", "c"]}}),
    ],
)  # fmt: skip
def test_merging(typed: StructNode, live: Any, config: Any, merged: Any) -> None:
    assert typed.merge(live, config) == merged


def test_removing_leaves_what_was_around() -> None:
    obj = {"metadata": {"labels": {"a": "b"}, "finalizers": ["x", "y"]}, "spec": {"containers": items("ab", image="i")}}
    gone = fields(
        "metadata/labels/a", "metadata/finalizers/=x", "spec/containers/name=a", "spec/containers/name=b/image"
    )
    assert POD.removing(obj, gone) == {
        "metadata": {"labels": {}, "finalizers": ["y"]},
        "spec": {"containers": [{"name": "b"}]},
    }


@pytest.mark.parametrize(
    ("typed", "config", "message"),
    [
        (POD, {"foo": 1}, ".foo: field not declared in schema"),
        (
            POD,
            spec(containers=[{"name": "a", "foo": 1}]),
            '.spec.containers[name="a"].foo: field not declared in schema',
        ),
        (DEPLOYMENT, spec(replicas="1"), ".spec.replicas: expected numeric (int or float), got string"),
        (DEPLOYMENT, spec(paused="true"), ".spec.paused: expected boolean, got &{true}"),
        (DEPLOYMENT, spec(selector=[]), ".spec.selector: expected map, got &{[]}"),
        (POD, spec(containers={}), ".spec.containers: expected list, got &{map[]}"),
        (POD, spec(nodeName=5), ".spec.nodeName: expected string, got &value.valueUnstructured{Value:5}"),
        (POD, spec(containers=items("aa")), '.spec.containers: duplicate entries for key [name="a"]'),
        (
            POD,
            spec(containers=[None]),
            ".spec.containers: element 0: associative list with keys may not have a null element",
        ),
        (
            POD,
            spec(containers=["a"]),
            ".spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            POD,
            {"metadata": {"finalizers": [{}]}},
            ".metadata.finalizers: element 0: associative list without keys has an element that's a map type",
        ),
        (
            POD,
            {"a": 1, "b": 2},
            "errors:\n  .a: field not declared in schema\n  .b: field not declared in schema",
        ),
        (POD, {"metadata": []}, ".metadata: expected map, got &{[]}"),
    ],
)
def test_what_is_wrong_with_a_configuration(typed: StructNode, config: Any, message: str) -> None:
    assert joined(problems(typed.struct, config)) == message


def test_numbers_are_quantities_too() -> None:
    assert (
        problems(POD.struct, spec(containers=[{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}]))
        == []
    )
