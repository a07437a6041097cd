"""Which rules a definition may have: what upstream says of those that it may not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.path import Path
from pilothouse.api.structural.form import check_schema
from pilothouse.api.structural.rules import Rules
from pilothouse.api.structural.schema import parse

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}


def struct(*rules, **properties):
    return {
        "type": "object",
        "properties": properties,
        "x-kubernetes-validations": [each if isinstance(each, dict) else {"rule": each} for each in rules],
    }


def array(items, **more):
    return {"type": "array", "items": items, **more}


def with_rule(schema, rule):
    return {**schema, "x-kubernetes-validations": [{"rule": rule}]}


def told(schema, *, is_unchanged=False):
    root = {"type": "object", "properties": {"spec": schema}}
    return [str(each) for each in check_schema(root, Path("s"), has_status=False, is_unchanged=is_unchanged)]


@pytest.mark.parametrize(
    ("properties", "rule"),
    [
        ({"a": TEXT, "b": INTEGER}, "self.a.size() > self.b"),
        ({"n": {"type": "number"}}, "self.n <= 100 && 1 < self.n"),
        ({"a": TEXT}, "has(self.a) && self.?a.orValue('x') != 'y'"),
        ({"port": {"x-kubernetes-int-or-string": True}}, "self.port == 1 || self.port == 'http'"),
        ({"when": {"type": "string", "format": "date-time"}}, "self.when > timestamp('2020-01-01T00:00:00Z')"),
        ({"long": {"type": "string", "format": "duration"}}, "self.long < duration('1h')"),
        ({"raw": {"type": "string", "format": "byte"}}, "self.raw == b'a'"),
        ({"my-name": TEXT, "if": TEXT}, "self.my__dash__name != self.__if__"),
        ({"fooBar": TEXT, "foo_bar": INTEGER}, "self.fooBar == 'a' && self.foo_bar == 1"),
        (
            {"m": {"type": "object", "additionalProperties": INTEGER, "maxProperties": 9}},
            "self.m.all(k, self.m[k] > 1)",
        ),
        ({"l": array(array({**TEXT, "maxLength": 9}, maxItems=9), maxItems=9)}, "self.l.all(x, x.all(y, y != 'a'))"),
        ({"a": TEXT}, "self.a == oldSelf.a"),
        ({"q": {**TEXT, "maxLength": 9}}, "quantity(self.q).isLessThan(quantity('1Gi')) // a comment"),
        ({"ip": {**TEXT, "maxLength": 39}}, "isIP(self.ip) && ip(self.ip).family() == 4"),
        ({"o": {"type": "object"}}, "self.o != null"),
    ],
)
def test_rules_that_may_be(properties, rule):
    assert told(struct(rule, **properties)) == []


@pytest.mark.parametrize(
    ("properties", "rule", "message"),
    [
        (
            {"x": INTEGER},
            "self.z > 1",
            "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z > 1\n | ....^",
        ),
        (
            {"x": INTEGER},
            "self.x == 'a'",
            "compilation failed: ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, string)'\n"
            " | self.x == 'a'\n | .......^",
        ),
        (
            {"x": INTEGER},
            "self.x = 1",
            "compilation failed: ERROR: <input>:1:8: Syntax error: token recognition error at: '= '",
        ),
        ({"x": INTEGER}, "self.x + 1", "cel expression must evaluate to a bool"),
        ({"x": INTEGER}, "true) || (self.zz", "Syntax error"),
        ({"x": INTEGER}, "foo(self.x)", "undeclared reference to 'foo' (in container '')"),
        ({"x": INTEGER}, "self.x == null", "found no matching overload for '_==_' applied to '(int, null)'"),
        ({"x": TEXT}, "self.x.matches('(')", "ERROR: <input>:1:16: invalid matches argument"),
        ({"x": TEXT}, "duration('1y') > duration('1s')", "invalid duration argument"),
        ({"x": TEXT}, "timestamp('now') != timestamp('2020-01-01T00:00:00Z')", "invalid timestamp argument"),
        ({"x": TEXT}, "self.x in ['a', 1]", "expected type 'string' but found 'int'"),
        ({"x": TEXT}, "cel.bind(y, self.x, y == 'a')", "undeclared reference to 'cel' (in container '')"),
        ({"x": TEXT}, "base64.decode(self.x) == b'a'", "undeclared reference to 'base64'"),
        ({"status": TEXT}, "self.metadata.name == 'a'", "undefined field 'metadata'"),
    ],
)
def test_rules_that_do_not_compile(properties, rule, message):
    (fault,) = told(struct(rule, **properties))
    assert fault.startswith("s.properties[spec].x-kubernetes-validations[0].rule: Invalid value: ")
    assert message in fault


def test_whole_objects_have_names():
    root = struct("self.metadata.name.startsWith('a') && self.kind == 'A'", spec=TEXT)
    assert check_schema(root, Path("s"), has_status=False) == []
    wrong = struct("self.metadata.labels['a'] == 'b'", spec=TEXT)
    (fault,) = check_schema(wrong, Path("s"), has_status=False)
    assert "undefined field 'labels'" in str(fault)


def test_expressions_of_messages():
    given = {"rule": "self.x > 1", "messageExpression": "'x is too small'"}
    assert told(struct(given, x=INTEGER)) == []
    for expression, message in (
        ("self.x", "messageExpression must evaluate to a string"),
        ("self.y", "messageExpression compilation failed: ERROR: <input>:1:5: undefined field 'y'"),
        ("'a' +", "messageExpression compilation failed: ERROR: <input>:1:6: Syntax error"),
        (
            "'x is ' + string(self.x)",
            "Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x",
        ),
    ):
        fault = told(struct({**given, "messageExpression": expression}, x=INTEGER))[0]
        assert fault.startswith("s.properties[spec].x-kubernetes-validations[0].messageExpression: ")
        assert message in fault


def test_a_rule_must_not_cost_too_much():
    nested = struct("self.l.all(x, self.l.all(y, x != y))", l=array(TEXT))
    rule = "s.properties[spec].x-kubernetes-validations[0].rule: Forbidden: "
    advice = (
        "exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where "
        "arrays, maps, and strings are declared)"
    )
    fault, *total = told(nested)
    assert fault == f"{rule}estimated rule cost {advice}"
    whole = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
    assert total == [
        f"{rule}contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        f"s: Forbidden: {whole} {advice}",
    ]
    assert told(nested, is_unchanged=True) == total, "a rule that was accepted may cost what it costs"
    limited = struct("self.l.all(x, self.l.all(y, x != y))", l=array({**TEXT, "maxLength": 20}, maxItems=50))
    assert told(limited) == []


def test_a_rule_costs_as_often_as_there_are_values():
    item = with_rule({**TEXT, "maxLength": 100}, "self.contains('test')")
    assert told(struct(l=array(item, maxItems=100))) == []
    (fault,) = [each for each in told(struct(l=array(item))) if "factor of" in each]
    assert "x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of " in fault


def test_many_cheap_rules_are_expensive_together():
    item = with_rule({**TEXT, "maxLength": 60}, "self.contains('test')")
    rules = struct(**{f"l{index}": array(item, maxItems=90_000) for index in range(50)})
    faults = told(rules)
    assert [each for each in faults if "estimated rule cost exceeds" in each] == []
    assert sum("contributed to estimated rule cost total" in each for each in faults) == 4
    assert "entire OpenAPIv3 schema exceeds budget by factor of " in faults[-1]


def test_old_values_must_be_found():
    transition = with_rule(struct(a=TEXT), "self.a == oldSelf.a")
    assert told({"type": "object", "properties": {"x": transition}}) == []
    items = array(transition, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}, maxItems=9)
    keyed = {**items, "items": {**transition, "required": ["a"]}}
    assert [each for each in told(keyed) if "oldSelf" in each] == []
    (fault,) = [each for each in told(array(transition, maxItems=9)) if "oldSelf" in each.partition(": ")[2]]
    assert fault == (
        's.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: "self.a == oldSelf.a": oldSelf cannot be used on the '
        "uncorrelatable portion of the schema within s.properties[spec]"
    )
    atomic = {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": transition}}
    assert any("uncorrelatable portion of the schema within s.properties[spec]" in each for each in told(atomic))


def test_optional_old_values():
    good = {"rule": "!oldSelf.hasValue() || oldSelf.value().a == self.a", "optionalOldSelf": True}
    assert told(struct(good, a=TEXT)) == []
    (fault,) = told(struct({"rule": "self.a == 'x'", "optionalOldSelf": True}, a=TEXT))
    assert fault == (
        "s.properties[spec].x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
    )
    fault, _ = told(struct({"rule": "oldSelf.a == self.a", "optionalOldSelf": True}, a=TEXT))
    assert (
        "undefined field 'a'" in fault
        or "found no matching overload" in fault
        or "does not support field selection" in fault
    )


@pytest.mark.parametrize("path", [".a", ".m.key", ".m['a.b']", ".n['x']"])
def test_places_of_faults(path):
    inner = {"type": "object", "properties": {"x": TEXT}}
    given = {"rule": "true", "fieldPath": path}
    assert told(struct(given, a=TEXT, m={"type": "object", "additionalProperties": TEXT}, n=inner)) == []


@pytest.mark.parametrize("path", ["a", ".b", ".a.b", ".l[0]", ".", ".m[x]", ".m['x"])
def test_places_that_there_are_not(path):
    faults = told(
        struct(
            {"rule": "true", "fieldPath": path},
            a=TEXT,
            l=array(TEXT),
            m={"type": "object", "additionalProperties": TEXT},
        )
    )
    assert [each for each in faults if each.endswith("must be a valid path")] != []


# fmt: off
WORDS = st.sampled_from(
    [
        *("self", "oldSelf", "self.a", "self.l", "self.m", "self.n", "self.o", ".x", "1", "1.5", "'a'", "b'a'", "null", "true"),
        *("[1]", "{'a':1}", "x", "size", "(", ")", "[", "]", "{", "}", ",", ":", "?", "+", "-", "*", "/", "%", "==", "<", "&&"),
        *("||", "!", "in", "all(", "map(", "filter(", "exists(", "has(", "cel.bind(", "duration(", "timestamp(", ".matches("),
        *(".find(", ".sum()", "quantity(", "string(", "cidr(", ".?a", ".orValue(", "\n", "//", "\t"),
    ]
)
# fmt: on


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=9))
def test_any_text_is_judged(words):
    """Whatever stands in a rule: it is accepted or refused, and what is accepted gives an answer for any object."""
    text = " ".join(words)
    mapping = {"type": "object", "additionalProperties": TEXT}
    schema = struct(
        {"rule": text, "messageExpression": text},
        a=TEXT,
        l=array(INTEGER),
        m=mapping,
        n={"type": "number"},
        o={"type": "object"},
    )
    root = {"type": "object", "properties": {"spec": schema}}
    faults = check_schema(root, Path("s"), has_status=False)
    assert all(isinstance(str(fault), str) for fault in faults)
    if not faults:
        spec = {"a": "b", "l": [1, 2], "m": {"k": "v"}, "n": 1.5, "o": {}}
        for old in (None, {"spec": {"a": "c"}}):
            assert all(isinstance(str(fault), str) for fault in Rules(parse(root)).check({"spec": spec}, old))
