"""Rules in CEL: what holds, what is told, what a change is compared with."""

import pytest

from pilothouse.api.duration import go_duration
from pilothouse.api.path import Path
from pilothouse.api.structural.form import check_schema
from pilothouse.api.structural.rules import Rules
from pilothouse.api.structural.schema import parse

INTEGER = {"type": "integer"}


def schema(*rules, **properties):
    return {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": properties, "x-kubernetes-validations": [*map(rule, rules)]}
        },
    }


def rule(given):
    return given if isinstance(given, dict) else {"rule": given}


def told(given, spec, old=None):
    faults = Rules(parse(given)).check({"spec": spec}, None if old is None else {"spec": old})
    return [str(fault) for fault in faults]


def test_a_rule_that_holds_says_nothing():
    given = schema("self.min <= self.max", min=INTEGER, max=INTEGER)
    assert told(given, {"min": 1, "max": 2}) == []


def test_a_broken_rule_is_told_by_itself_by_its_message_or_by_an_expression():
    given = schema(
        "self.min <= self.max",
        {"rule": "self.min > 5", "message": "min is small"},
        {"rule": "self.max > 5", "messageExpression": "'max is ' + string(self.max)", "fieldPath": ".max"},
        {"rule": "self.min > 6", "reason": "FieldValueForbidden"},
        min=INTEGER,
        max=INTEGER,
    )
    assert told(given, {"min": 3, "max": 2}) == [
        "spec: Invalid value: failed rule: self.min <= self.max",
        "spec: Invalid value: min is small",
        "spec.max: Invalid value: max is 2",
        "spec: Forbidden: failed rule: self.min > 6",
    ]


def test_a_rule_that_cannot_be_evaluated_is_broken():
    given = schema("self.missing > 1", missing=INTEGER)
    assert told(given, {}) == ['spec: Invalid value: "object": no such key: missing evaluating rule: self.missing > 1']


def test_scalars_show_their_value():
    given = schema(x={"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]})
    assert told(given, {"x": "b"}) == ["spec.x: Invalid value: \"b\": failed rule: self.startsWith('a')"]


def test_transitions_hold_for_changes_only():
    given = schema("self.size >= oldSelf.size", size=INTEGER)
    assert told(given, {"size": 1}) == []
    assert told(given, {"size": 2}, {"size": 1}) == []
    assert told(given, {"size": 1}, {"size": 2}) == ["spec: Invalid value: failed rule: self.size >= oldSelf.size"]


def test_an_optional_old_value_is_asked_on_creation_too():
    given = schema({"rule": "oldSelf.hasValue() || self.size == 1", "optionalOldSelf": True}, size=INTEGER)
    assert told(given, {"size": 1}) == []
    assert told(given, {"size": 2}) != []
    assert told(given, {"size": 2}, {"size": 3}) == []


def test_what_has_not_changed_may_stay_broken():
    given = schema("self.size < 3", size=INTEGER)
    assert told(given, {"size": 5}, {"size": 5}) == []
    assert told(given, {"size": 6}, {"size": 5}) != []


def test_items_of_map_lists_are_compared_with_their_old_selves():
    item = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": INTEGER},
        "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size"}],
    }
    given = schema(
        items={
            "type": "array",
            "items": item,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        }
    )
    old = {"items": [{"name": "a", "size": 1}, {"name": "b", "size": 5}]}
    new = {"items": [{"name": "b", "size": 4}, {"name": "a", "size": 1}, {"name": "c", "size": 0}]}
    assert told(given, new, old) == ["spec.items[0]: Invalid value: failed rule: self.size >= oldSelf.size"]


def test_typed_values_and_escaped_names():
    given = schema(
        "self.when < timestamp('2030-01-01T00:00:00Z')",
        "self.long > duration('59s')",
        "self.foo__dash__bar == 'x'",
        "self.share > 0.4",
        when={"type": "string", "format": "date-time"},
        long={"type": "string", "format": "duration"},
        share={"type": "number"},
        **{"foo-bar": {"type": "string"}},
    )
    assert told(given, {"when": "2026-01-01T00:00:00Z", "long": "1m", "foo-bar": "x", "share": 1}) == []


def test_the_root_sees_the_name():
    given = {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'"}]}
    rules = Rules(parse(given))
    assert rules.check({"kind": "K", "metadata": {"name": "a", "labels": {}}}) == []
    assert rules.check({"kind": "K", "metadata": {"name": "b"}}) != []


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"rule": "self."}, "rule"),
        ({"rule": "self.a > 1", "messageExpression": "1 +"}, "messageExpression"),
        ({"rule": "1 + 1"}, "rule"),
        ({"rule": " "}, "rule"),
        ({"rule": "self.a == 1", "reason": "Because"}, "reason"),
        ({"rule": "self.a == 1", "optionalOldSelf": True}, "optionalOldSelf"),
    ],
)
def test_rules_are_compiled_when_they_are_defined(given, place):
    faults = check_schema(schema(given, a=INTEGER), Path("s"), has_status=False)
    assert [fault.path.text for fault in faults] == [f"s.properties[spec].x-kubernetes-validations[0].{place}"]


def test_durations():
    assert go_duration("1h1m1.5s").total_seconds() == 3661.5
    assert go_duration("-2ms").total_seconds() == -0.002
    with pytest.raises(ValueError, match="1 day"):
        go_duration("1 day")
