"""Random text and random compositions never bring anything but a CompileError or an EvaluationError."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.cel.environment import DYN, CompileError, Environment, EvaluationError
from pilothouse.api.cel.objects import as_maps

WORDS = st.sampled_from(
    [
        *(
            "object",
            "oldObject",
            "1",
            "-1",
            "1.5",
            "1u",
            "'a'",
            "b'a'",
            "null",
            "true",
            "[1, 2]",
            "{'a': 1}",
            "x",
            "size",
        ),
        *(
            ".",
            "?.",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            "+",
            "-",
            "*",
            "/",
            "%",
            "==",
            "<",
            "&&",
            "||",
            "!",
            "in",
        ),
        *(
            "map",
            "all",
            "filter",
            "exists",
            "has",
            "find",
            "quantity",
            "ip",
            "cidr",
            "url",
            "semver",
            "format",
            "sum",
            "max",
        ),
        *(
            "Object",
            "JSONPatch",
            "spec",
            "`",
            '"',
            "//",
            "\\",
            "\n",
            "\x00",
            "é",
            "timestamp",
            "duration",
            "cel.bind",
            "sort()",
        ),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def environment():
    return Environment({"object": DYN, "oldObject": DYN})


def test_texts(environment):
    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=30), VALUES, VALUES)
    def check(text, one, two):
        with contextlib.suppress(CompileError, EvaluationError):
            environment.compile(as_maps(text)).evaluate({"object": one, "oldObject": two})

    check()


EXPRESSIONS = [
    "object == oldObject",
    "object.a.b + oldObject",
    "object.map(x, x)",
    "object.sum() == oldObject.max()",
    "object.find(oldObject)",
    "quantity(object).add(quantity(oldObject))",
    "ip(object).family() + cidr(oldObject).prefixLength()",
    "url(object).getQuery()",
    "semver(object, true).compareTo(semver(oldObject))",
    "format.uri().validate(object).hasValue()",
    "'%s %d %x'.format([object, oldObject, object])",
    "object.indexOf(oldObject)",
    "object.isSorted()",
    "sets.contains(object, oldObject)",
    "object.transformMap(k, v, v)",
    "timestamp(object) < timestamp(oldObject)",
    "string(object) + string(oldObject)",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_values(environment, expression):
    program = environment.compile(expression)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(VALUES, VALUES)
    def check(one, two):
        with contextlib.suppress(EvaluationError):
            program.evaluate({"object": one, "oldObject": two})

    check()
