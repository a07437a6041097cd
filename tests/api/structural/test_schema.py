"""Schemas: how they are judged, and what they do to values."""

import pytest

from pilothouse.api.path import Path
from pilothouse.api.schema.types import ListOf, MapOf, Scalar
from pilothouse.api.structural import formats, jsonpath, pattern
from pilothouse.api.structural.check import check
from pilothouse.api.structural.default import default, drop_nulls
from pilothouse.api.structural.embedded import check_embedded
from pilothouse.api.structural.facts import struct_of
from pilothouse.api.structural.form import check_schema
from pilothouse.api.structural.list_types import check_lists
from pilothouse.api.structural.prune import prune
from pilothouse.api.structural.schema import parse

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
PRESERVES = "x-kubernetes-preserve-unknown-fields"
LIST_TYPE, MAP_KEYS = "x-kubernetes-list-type", "x-kubernetes-list-map-keys"


def of(**properties):
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "faults"),
    [
        ({}, ["s.type: Required value: must not be empty at the root"]),
        (STRING, ['s.type: Invalid value: "string": must be object at the root']),
        (of(a={}), ["s.properties[a].type: Required value: must not be empty for specified object fields"]),
        (of(a={"type": "array"}), ["s.properties[a].items: Required value: must be specified"]),
        (of(a={"x-kubernetes-int-or-string": True}), []),
        (of(a={PRESERVES: True}), []),
        (
            {**of(), "additionalProperties": STRING},
            ["s.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            of(metadata={"type": "object", "properties": {"labels": {"type": "object"}}}),
            [
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is "
                "implicitly specified"
            ],
        ),
        (of(metadata={"type": "object", "properties": {"name": STRING}}), []),
        (
            {**of(), "anyOf": [{"properties": {"b": {"minimum": 1}}}]},
            ["s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]"],
        ),
        ({**of(), "not": {"type": "object"}}, ["s.not.type: Forbidden: must be empty to be structural"]),
        (
            of(a={**STRING, "pattern": "("}),
            ['s.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: '],
        ),
        (of(a={**STRING, "default": 1}), ['s.properties[a].default: Invalid value: "integer": ']),
        (
            of(a={"type": "object", "properties": {"b": STRING}, "default": {"c": 1}}),
            ['s.properties[a].default: Invalid value: {"c":1}: must not have unknown fields'],
        ),
        (of(a={**STRING, "$ref": "x"}), ["s.properties[a].$ref: Forbidden: $ref is not supported"]),
        (of(a={**STRING, "uniqueItems": True}), ["s.properties[a].uniqueItems: Forbidden: "]),
        (
            of(a={"type": "array", "items": of(k=STRING), LIST_TYPE: "map", MAP_KEYS: ["k"]}),
            ["s.properties[a].items.properties[k].default: Required value: "],
        ),
        (
            of(a={"type": "array", "items": of(k=STRING), LIST_TYPE: "set"}),
            ["s.properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list"],
        ),
        (of(a={**STRING, "default": None}), []),
    ],
)
def test_schemas_are_judged(schema, faults):
    found = [str(fault) for fault in check_schema(schema, Path("s"), has_status=False)]
    assert len(found) == len(faults), found
    assert all(text.startswith(start) for text, start in zip(found, faults, strict=True)), found


def test_with_a_status_subresource_the_root_says_little():
    found = check_schema({**of(), "minProperties": 1}, Path("s"), has_status=True)
    assert "fields are allowed at the root of the schema" in str(found[0])


@pytest.mark.parametrize(
    ("schema", "value", "faults"),
    [
        (INTEGER, 1.0, []),
        (
            INTEGER,
            1.5,
            [
                'v: Invalid value: "number": v in body must be of type integer: "number"',
                '<nil>: Invalid value: "": Checked value must be of type integer (default format) in v',
            ],
        ),
        (INTEGER, True, ['v: Invalid value: "boolean": v in body must be of type integer: "boolean"']),
        (STRING, None, ['v: Invalid value: "null": v in body must be of type string: "null"']),
        ({**STRING, "nullable": True}, None, []),
        ({"x-kubernetes-int-or-string": True}, "1", []),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            ['v: Invalid value: "array": v in body must be of type integer,string: "array"'],
        ),
        ({**STRING, "maxLength": 2}, "abc", ["v: Too long: may not be more than 2 bytes"]),
        ({**STRING, "pattern": "^a$"}, "a\n", ["v: Invalid value: \"a\\n\": v in body should match '^a$'"]),
        ({**STRING, "enum": ["a", "b"]}, "c", ['v: Unsupported value: "c": supported values: "a", "b"']),
        ({**INTEGER, "multipleOf": 2}, 3, ["v: Invalid value: 3: v in body should be a multiple of 2"]),
        (
            {**INTEGER, "minimum": 1, "exclusiveMinimum": True},
            1,
            ["v: Invalid value: 1: v in body should be greater than 1"],
        ),
        (
            {"type": "number", "maximum": 0.5},
            0.6,
            ["v: Invalid value: 0.6: v in body should be less than or equal to 0.5"],
        ),
        (
            {**STRING, "format": "date"},
            "2026-13-01",
            ['v: Invalid value: "2026-13-01": v in body must be of type date: "2026-13-01"'],
        ),
        ({**STRING, "format": "made-up"}, "x", []),
        (
            {"type": "array", "items": INTEGER, "maxItems": 1},
            [1, 2],
            ["v: Too many: 2: must have at most 1 item"],
        ),
        (
            {"type": "array", "items": INTEGER},
            [1, "x"],
            ['v[1]: Invalid value: "string": v[1] in body must be of type integer: "string"'],
        ),
        ({**of(a=STRING), "required": ["a", "b"]}, {"a": ""}, ["v.b: Required value"]),
        (
            {"type": "object", "additionalProperties": INTEGER},
            {"x": "y"},
            ['v.x: Invalid value: "string": v.x in body must be of type integer: "string"'],
        ),
        (
            {**of(a=STRING, b=STRING), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": "", "b": ""},
            ['<nil>: Invalid value: "": "v" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
        ),
        (
            {**STRING, "anyOf": [{"minLength": 2}, {"pattern": "x"}]},
            "a",
            [
                '<nil>: Invalid value: "": "v" must validate at least one schema (anyOf)',
                'v: Invalid value: "a": v in body should be at least 2 chars long',
            ],
        ),
        ({**STRING, "not": {"enum": ["a"]}}, "a", ['<nil>: Invalid value: "": "v" must not validate the schema (not)']),
    ],
)
def test_values_are_judged(schema, value, faults):
    assert [str(fault) for fault in check({"v": value}, parse(of(v=schema)))] == faults


def test_what_has_not_changed_may_stay_wrong():
    items = {"type": "array", "items": of(k=STRING, n={**INTEGER, "maximum": 1}), LIST_TYPE: "map", MAP_KEYS: ["k"]}
    schema = parse(of(a={**INTEGER, "maximum": 1}, b=STRING, l=items))
    old = {"a": 5, "l": [{"k": "x", "n": 5}]}
    assert check({"a": 5, "b": "new", "l": [{"k": "y", "n": 0}, {"k": "x", "n": 5}]}, schema, old=old) == []
    assert len(check({"a": 6, "l": [{"k": "x", "n": 6}]}, schema, old=old)) == 2


def test_unknown_fields_go():
    schema = parse(
        of(
            a=of(b=STRING),
            l={"type": "array", "items": of(c=STRING)},
            free={"type": "object", PRESERVES: True, "properties": {"known": of(d=STRING)}},
            m={"type": "object", "additionalProperties": of(e=STRING)},
            o={"type": "object", PRESERVES: True, "x-kubernetes-embedded-resource": True},
        )
    )
    obj = {
        "apiVersion": "v",
        "kind": "K",
        "metadata": {"name": "n"},
        "a": {"b": "1", "x": 1},
        "l": [{"c": "1"}, {"y": 1}],
        "free": {"any": {"thing": 1}, "known": {"d": "1", "z": 1}},
        "m": {"k": {"e": "1", "w": 1}},
        "o": {"kind": "X", "spec": {"any": 1}},
        "gone": True,
    }
    assert prune(obj, schema) == ["a.x", "free.known.z", "gone", "l[1].y", "m.k.w"]
    assert obj["free"]["any"] == {"thing": 1}
    assert obj["o"] == {"kind": "X", "spec": {"any": 1}}


def test_defaults_and_nulls():
    schema = parse(
        of(
            a={**STRING, "default": "x"},
            b={**of(c={**INTEGER, "default": 1}), "default": {}},
            n={**STRING, "nullable": True, "default": "y"},
            plain=STRING,
            absent=of(d={**STRING, "default": "z"}),
        )
    )
    obj = {"a": None, "n": None, "plain": None}
    drop_nulls(obj, schema)
    default(obj, schema)
    assert obj == {"a": "x", "n": None, "b": {"c": 1}}


def test_lists_hold_nothing_twice():
    schema = parse(
        of(
            s={"type": "array", "items": STRING, LIST_TYPE: "set"},
            m={"type": "array", "items": of(k=STRING), LIST_TYPE: "map", MAP_KEYS: ["k"]},
        )
    )
    faults = check_lists({"s": ["a", "b", "a", "a"], "m": [{"k": "x"}, {"k": "x"}]}, schema)
    assert [str(fault) for fault in faults] == ['s[2]: Duplicate value: "a"', 'm[1]: Duplicate value: {"k":"x"}']


def test_embedded_objects_have_kinds_and_valid_metadata():
    schema = parse(of(o={"type": "object", PRESERVES: True, "x-kubernetes-embedded-resource": True}))
    faults = [fault.path.text for fault in check_embedded({"o": {"kind": "", "metadata": {"name": "a/b"}}}, schema)]
    assert faults == ["o.apiVersion", "o.kind", "o.metadata.name"]


def test_facts_for_apply():
    schema = parse(
        of(
            spec=of(
                l={"type": "array", "items": of(k=STRING), LIST_TYPE: "map", MAP_KEYS: ["k"]},
                m={"type": "object", "additionalProperties": INTEGER},
                atomic={**of(x=STRING), "x-kubernetes-map-type": "atomic"},
            )
        )
    )
    spec = struct_of(schema, "com.example.v1.K").fields["spec"].type
    assert (spec.fields["l"].list_type, spec.fields["l"].map_keys) == ("map", ("k",))
    assert isinstance(spec.fields["l"].type, ListOf)
    assert spec.fields["m"].type == MapOf(Scalar("int64"))
    assert spec.fields["atomic"].map_type == "atomic"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-01-01T00:00:00.123456789Z", "2026-01-01"),
        ("uuid", "A987FBC9-4BED-3078-CF07-9141BA07C9F3", "x"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uri", "https://example.com/a", "not a uri"),
        ("email", "a@example.com", "a"),
        ("byte", "YQ==", "Y"),
        ("duration", "1h30m", "soon"),
        ("hostname", "a.example.com", "-a"),
        ("isbn", "978-0321751041", "978-0321751042"),
        ("k8s-short-name", "a-b", "A"),
        ("k8s-long-name", "a.b-c", "a..b"),
        ("hexcolor", "#FFFFFF", "#GG"),
        ("mac", "01:02:03:04:05:06", "01:02"),
    ],
)
def test_formats(name, good, bad):
    assert formats.is_known("string", name)
    assert formats.matches(name, good)
    assert not formats.matches(name, bad)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (r"^[[:alpha:]]+\z", "abc", "abc1"),
        (r"^\p{L}+$", "Ünï", "1"),
        (r"^[]a]+$", "]a", "b"),
        (r"(?P<x>a)(?<y>b)", "ab", "ba"),
    ],
)
def test_patterns_of_re2(text, good, bad):
    assert pattern.compiled(text).search(good)
    assert not pattern.compiled(text).search(bad)


def test_patterns_that_have_no_equal_are_left_to_re2():
    assert pattern.compiled(r"^\p{Greek}+$").search("αβγ")
    assert not pattern.compiled(r"^\p{Greek}+$").search("abc")
    with pytest.raises(ValueError, match="error parsing regexp"):
        pattern.compiled(r"\p{Nonsense}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<!a)b", "invalid or unsupported Perl syntax: `(?<!`"),
        ("(?>a)", "invalid or unsupported Perl syntax: `(?>`"),
        ("(a)\\1", "invalid escape sequence: `\\1`"),
        ("a++", "invalid nested repetition operator: `++`"),
    ],
)
def test_patterns_that_go_refuses(text, message):
    with pytest.raises(ValueError) as caught:
        pattern.compiled(text)
    assert str(caught.value) == f"error parsing regexp: {message}"


@pytest.mark.parametrize(
    "text", ["[(?=]+", "\\(?a", "[*+]+", "\\++", "(?i)a", "(?:a)+", "(?P<n>a)", "a{foo}", "\\p{L}+"]
)
def test_patterns_that_only_look_like_those(text):
    assert pattern.compiled(text)


OBJ = {
    "spec": {"n": 1, "list": [{"type": "A", "v": 1}, {"type": "B", "v": 2}]},
    "metadata": {"annotations": {"a.b/c": "x"}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.n", [1]),
        ("{.spec.n}", [1]),
        (".spec.missing", []),
        ('.spec.list[?(@.type=="B")].v', [2]),
        (".spec.list[?(@.v>1)].type", ["B"]),
        (".spec.list[0].v", [1]),
        (".spec.list[-1].v", [2]),
        (".spec.list[*].v", [1, 2]),
        (r".metadata.annotations.a\.b/c", ["x"]),
        (".metadata.annotations['a.b/c']", ["x"]),
        ("..v", [1, 2]),
    ],
)
def test_paths(path, found):
    assert jsonpath.find(jsonpath.compile_path(path), OBJ) == found
