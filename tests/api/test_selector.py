from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import field_selector, selector
from pilothouse.api.selector import LabelSelector, Operator, Requirement
from pilothouse.api.status import BadRequest

FAULTS = [
    ("x==a==b", "found '==', expected: ',' or 'end of string'"),
    ("!x=a", "found '=', expected: ',' or 'end of string'"),
    ("x<a", "for 'Gt', 'Lt' operators, the value must be an integer"),
    ("x=,z= ,", "found '', expected: identifier after ','"),
    ("x in (a", "found '', expected: ',' or ')'"),
    ("x in ", "found '' expected: '('"),
    ("x in (", "found '', expected: ',', ')' or identifier"),
    ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
    ("(x)", "found '(', expected: !, identifier, or 'end of string'"),
    ("!", "found '', expected: identifier"),
    ("a/b/c", 'unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label key must consist of'),
    ("x=" + "y" * 64, "unable to parse requirement: values[0][x]: Invalid value: "),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_bad_label_selector(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        selector.parse_labels(text)
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x=", "x="),
        ("x= ,z= ", "x=,z="),
        ("x in (), y in (,b)", "x in (),y in (,b)"),
        ("z,!y, x notin ( c,b ,a )", "x notin (a,b,c),!y,z"),
        ("x>1,y<3", "x>1,y<3"),
        ("in,notin in (in,notin)", "in,notin in (in,notin)"),
        ("example.com/a==b", "example.com/a==b"),
    ],
)
def test_prints_what_it_parsed(text: str, printed: str) -> None:
    assert str(selector.parse_labels(text)) == printed


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {"x": "y"}, True),
        ("x=y", {"x": "y"}, True),
        ("x=y,z=w", {"x": "y"}, False),
        ("x!=y", {}, True),
        ("x!=y", {"x": "y"}, False),
        ("x in (a,b)", {"x": "b"}, True),
        ("x in (a,b)", {}, False),
        ("x notin (a,b)", {}, True),
        ("x notin (a,b)", {"x": "a"}, False),
        ("x", {"x": ""}, True),
        ("!x", {"x": ""}, False),
        ("!x", {}, True),
        ("x>1", {"x": "2"}, True),
        ("x>1", {"x": "two"}, False),
        ("x<1", {"x": "0"}, True),
        ("x<1", {}, False),
        ("x=", {"x": ""}, True),
        ("x=", {}, False),
    ],
)
def test_matches(text: str, labels: dict[str, str], matches: bool) -> None:
    assert selector.parse_labels(text).matches(labels) is matches


def test_object_selectors() -> None:
    assert not selector.from_object(None).matches({})
    assert selector.from_object({}).is_everything
    chosen = selector.from_object(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}
    )
    assert str(chosen) == "app=web,tier in (a,b)"
    assert chosen.matches({"app": "web", "tier": "a"})
    assert not chosen.matches({"app": "web"})
    assert chosen.exact_value("app") == "web"
    assert chosen.exact_value("tier") is None
    with pytest.raises(BadRequest, match='"Near" is not a valid label selector operator'):
        selector.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})
    with pytest.raises(BadRequest, match="values set can't be empty"):
        selector.from_object({"matchExpressions": [{"key": "a", "operator": "In"}]})


_word = st.from_regex(r"[a-z]([a-z0-9.-]{0,5}[a-z0-9])?", fullmatch=True)


@st.composite
def _requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(Operator))
    if operator in (Operator.IN, Operator.NOT_IN):
        values = tuple(sorted(draw(st.sets(_word, min_size=1, max_size=3))))
    elif operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
        values = ()
    elif operator in (Operator.GREATER_THAN, Operator.LESS_THAN):
        values = (str(draw(st.integers(0, 2**62))),)
    else:
        values = (draw(_word),)
    return Requirement(draw(_word), operator, values)


@given(st.lists(_requirements(), max_size=4), st.dictionaries(_word, _word))
def test_label_round_trip(requirements: list[Requirement], labels: dict[str, str]) -> None:
    original = LabelSelector(requirements)
    again = selector.parse_labels(str(original))
    assert again == original
    assert again.matches(labels) == all(each.matches(labels) for each in requirements)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\b", "invalid field selector: invalid escape sequence: \\b"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_bad_field_selector(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        field_selector.parse_fields(text)
    assert raised.value.message == message


def test_field_selectors() -> None:
    chosen = field_selector.parse_fields(r"spec.nodeName=n1,status.phase!=Failed,a==b\,c\=d\\,")
    assert chosen.requirements == (
        ("a", "=", "b,c=d\\"),
        ("spec.nodeName", "=", "n1"),
        ("status.phase", "!=", "Failed"),
    )
    assert str(chosen) == r"a=b\,c\=d\\,spec.nodeName=n1,status.phase!=Failed"
    assert chosen.matches({"a": "b,c=d\\", "spec.nodeName": "n1"})
    assert not chosen.matches({"a": "b,c=d\\", "spec.nodeName": "n1", "status.phase": "Failed"})
    assert chosen.exact_value("spec.nodeName") == "n1"
    assert chosen.exact_value("status.phase") is None
    assert field_selector.parse_fields("").is_everything
    assert field_selector.parse_fields("=").is_everything


@given(st.dictionaries(_word, st.text(alphabet="ab\\,=é ", min_size=1), max_size=3))
def test_field_round_trip(fields: dict[str, str]) -> None:
    text = ",".join(f"{field}={field_selector.escape(value)}" for field, value in fields.items())
    parsed = field_selector.parse_fields(text)
    assert {each.field: each.value for each in parsed.requirements} == fields
    assert field_selector.parse_fields(str(parsed)) == parsed
