"""Expressions with more rounds than the library allows at a time."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.cel import pieces
from pilothouse.api.cel.environment import BOOL, COST_EXCEEDED, DYN, Environment, EvaluationError
from pilothouse.api.cel.pieces import TooManyRounds, evaluate
from pilothouse.api.codec.wire import fields

ENVIRONMENT = Environment({"self": DYN})


def field(message: bytes, number: int) -> bytes:
    found: bytes = dict(fields(message, 0, len(message)))[number]
    return found


def value(expression: str, self: Any) -> Any:
    """What comes of it: a value, or the text of a failure."""
    try:
        return ENVIRONMENT.compile(expression, returns=BOOL).evaluate({"self": self})
    except EvaluationError as error:
        return str(error)


ITEMS = list(range(150))
NAMED = {"items": [{"name": f"n{index}"} for index in ITEMS]}
UNIQUE = "self.items.all(x, self.items.exists_one(y, y.name == x.name))"


@pytest.mark.parametrize(
    ("expression", "self", "expected"),
    [
        ("self.all(x, self.exists_one(y, y == x))", ITEMS, True),
        ("self.all(x, self.exists_one(y, y == x))", [*ITEMS, 149], False),
        ("self.exists(x, self.filter(y, y == x).size() == 2)", [*ITEMS, 149], True),
        ("self.exists(x, self.filter(y, y == x).size() == 2)", ITEMS, False),
        ("self.exists_one(x, self.all(y, y <= x))", ITEMS, True),
        ("self.exists_one(x, self.filter(y, y < x).size() > 147)", ITEMS, False),
        (UNIQUE, NAMED, True),
        (f"has(self.items) && {UNIQUE}", NAMED, True),
        (f"has(self.none) || !({UNIQUE})", NAMED, False),
        (f"size(self.items) > 2 ? {UNIQUE} : false", NAMED, True),
        (f"size(self.items) < 2 ? true : !({UNIQUE})", NAMED, False),
        ("self.all(x, x < 99999)", list(range(100_000)), False),
    ],
)
def test_an_expression_may_have_more_rounds_than_one_evaluation(expression, self, expected):
    assert value(expression, self) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("self.all(x, self.exists(y, 1 / (x - 149) == y) || self.exists(y, y == 3))", True),
        ("self.all(x, self.exists(y, y > 148 && 1 / (x - 20) < 5))", "division by zero"),
        ("self.all(x, self.exists(y, y > 148 && 1 / (x - 20) < 5)) && self[149] == 3", False),
        ("self.exists_one(x, self.exists(y, y > 148 && 1 / (x - 20) > 5))", "division by zero"),
        ("self.all(x, self.exists(y, y == x)) ? self.all(x, self.exists(y, y == x / 0)) : true", "division by zero"),
    ],
)
def test_failures_matter_where_they_would_in_one_evaluation(expression, expected):
    assert value(expression, ITEMS) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "self.all(x, self.all(y, self.all(z, x + y + z >= 0)))",
        "self.map(x, self.all(y, y >= 0)).size() > 0",
        "self.all(x, [1].all(y, self.all(z, self.all(w, z >= 0))))",
        "self.map(x, x).all(x, self.all(y, y >= 0))",
        "[1, 2].all(x, self.all(y, self.all(z, z >= 0)))",
    ],
)
def test_there_is_a_limit_still(expression):
    assert value(expression, ITEMS) == COST_EXCEEDED


def test_a_list_that_is_too_long_has_no_end_of_evaluations():
    assert value("self.all(x, x >= 0)", list(range(500_000))) == COST_EXCEEDED


LISTS = st.lists(st.integers(0, 3), max_size=7)
TESTS = st.sampled_from(
    ["x == 1", "x > 0", "2 / x == 1", "x in self.b", "self.b.exists(y, y == x)", "self.c.all(y, y > x)", "x"]
)
MACROS = st.builds(
    "self.{}.{}(x, {})".format, st.sampled_from("abc"), st.sampled_from(["all", "exists", "exists_one"]), TESTS
)
EXPRESSIONS = st.recursive(
    MACROS | st.builds("({} || {})".format, MACROS, st.sampled_from(["true", "self.d", "1 / 0 == 1"])),
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, LISTS, LISTS, LISTS, st.integers(1, 4))
def test_pieces_tell_what_the_whole_does(expression, a, b, c, length):
    program = ENVIRONMENT.compile(expression)
    values = {"self": {"a": a, "b": b, "c": c}}

    def run(checked: bytes, variables: Mapping[str, Any]) -> Any:
        """As if no more than `length` items could be looked at, and no logical operator or macro be evaluated whole."""
        items = variables.get("@items")
        tree = field(field(checked, 2), 4)
        whole = items is None and any(word in tree for word in (b"_&&_", b"_||_", b"!_", b"_?_:_"))
        if whole or (items is not None and len(items) > length):
            raise TooManyRounds
        found = ENVIRONMENT._environment.deserialize(checked).eval(data={**values, **variables})
        if str(found.type()) == "ERROR":
            raise EvaluationError
        return found.plain_value()

    try:
        expected = program.evaluate(values)
    except EvaluationError:
        expected = None
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "MAX_EVALUATIONS", 1000)
            found = evaluate(program.serialized(), values, run, EvaluationError)
    except EvaluationError:
        found = None
    assert found == expected
