"""The arithmetic of sets, against sets of paths."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.apply import elements, sets
from pilothouse.api.apply.sets import FieldSet
from tests.api.apply.shorthand import fields, shown

_ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
_PATHS = st.sets(st.lists(_ELEMENTS, min_size=1, max_size=3).map(tuple), max_size=8)


def build(found: set[tuple[str, ...]]) -> FieldSet:
    return sets.of_paths(sorted(found))


@given(_PATHS)
def test_a_set_has_the_paths_that_it_was_made_of(found: set[tuple[str, ...]]) -> None:
    made = build(found)
    assert set(sets.paths(made)) == found
    assert sets.parsed(orjson.loads(orjson.dumps(made))) == made


@given(_PATHS, _PATHS)
def test_arithmetic_is_that_of_sets_of_paths(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    a, b = build(left), build(right)
    frozen = orjson.dumps([a, b])
    assert sets.union(a, b) == build(left | right)
    assert sets.intersection(a, b) == build(left & right)
    assert sets.difference(a, b) == build(left - right)
    assert sets.is_subset(a, b) == (left <= right)
    below = {path for path in left if any(path[: len(other)] == other for other in right)}
    assert sets.without(a, b) == build(left - below)
    assert orjson.dumps([a, b]) == frozen


@pytest.mark.parametrize(
    ("written", "paths"),
    [
        ({"f:a": {}}, {"a"}),
        ({"f:a": {".": {}}}, {"a"}),
        ({"f:a": None}, {"a"}),
        ({"f:a": {".": {}, "f:b": {}}}, {"a", "a/b"}),
        ({"f:a": {"f:b": {}}}, {"a/b"}),
        ({".": {}}, set()),
        ({"x:later": {"f:a": {}}, "f:b": {}}, {"b"}),
        ({"f:a": {"x:later": {}}}, {"a"}),
        ({"f:l": {'k:{ "b":1, "a":"x" }': {}}}, {"l/a=x,b=1"}),
        ({"f:l": {"v: 1": {}}}, {"l/=1"}),
    ],
)
def test_what_clients_write_is_read(written: FieldSet, paths: set[str]) -> None:
    assert shown(sets.parsed(written)) == paths


@pytest.mark.parametrize(
    "written", [[], {"f:a": 1}, {"a": {}}, {"": {}}, {"k:[1]": {}}, {"k:{": {}}, {"i:x": {}}, {"v:": {}}]
)
def test_what_is_no_set_is_refused(written: object) -> None:
    with pytest.raises(ValueError):
        sets.parsed(written)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (["f:spec", "f:replicas"], ".spec.replicas"),
        (["f:metadata", "f:annotations", "f:a.b/c"], ".metadata.annotations.a.b/c"),
        (["f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'], '.ports[containerPort=80,protocol="TCP"]'),
        (["f:finalizers", 'v:"x"'], '.finalizers[="x"]'),
        (["i:3"], "[3]"),
    ],
)
def test_paths_are_shown_as_upstream_shows_them(path: list[str], text: str) -> None:
    assert elements.shown(path) == text


def test_the_order_of_fields() -> None:
    found = fields("b", "a", "l/p=10", "l/p=9", "l/=x", "a/z")
    assert [elements.shown(path) for path in sets.paths(found)] == [
        ".a",
        ".b",
        ".a.z",
        ".l[p=9]",
        ".l[p=10]",
        '.l[="x"]',
    ]


def test_special_characters_are_escaped_as_upstream_does() -> None:
    assert elements.of_value("<a&b>") == 'v:"\\u003ca\\u0026b\\u003e"'


@given(_PATHS)
def test_a_set_in_order_is_the_same_set(found: set[tuple[str, ...]]) -> None:
    before = sets.of_paths(sorted(found))
    after = sets.ordered(before)
    assert after == before
    assert list(sets.paths(after)) == list(sets.paths(before))
    assert orjson.dumps(sets.ordered(after)) == orjson.dumps(after)
    assert orjson.dumps(sets.ordered(sets.of_paths(sorted(found, reverse=True)))) == orjson.dumps(after)


@pytest.mark.parametrize(
    ("keys", "order"),
    [
        (["f:name", "f:image", "."], [".", "f:image", "f:name"]),
        (['k:{"name":"b"}', ".", 'k:{"name":"a"}'], [".", 'k:{"name":"a"}', 'k:{"name":"b"}']),
        (
            ['k:{"containerPort":443,"protocol":"TCP"}', ".", 'k:{"containerPort":80,"protocol":"TCP"}'],
            [".", 'k:{"containerPort":80,"protocol":"TCP"}', 'k:{"containerPort":443,"protocol":"TCP"}'],
        ),
        (["v:10", "v:9", "."], [".", "v:9", "v:10"]),
        (["i:10", "i:9"], ["i:9", "i:10"]),
    ],
)
def test_a_set_is_written_in_upstreams_order(keys: list[str], order: list[str]) -> None:
    written = sets.ordered({"f:list": {key: {} for key in keys}})
    assert list(written["f:list"]) == order
