"""YAML is read as upstream's reader reads it: what is a number, what is a truth value, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.apiserver import yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("N", False), ("yes", True), ("off", False), ("yy", "yy"),
        ("1", 1), ("+5", 5), ("-0x1", -1), ("0o14", 12), ("014", 12), ("0b11", 3), ("1_000", 1000), ("08", 8.0),
        ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("1:30", "1:30"), ("1.2.3", "1.2.3"), ("2020-01-01", "2020-01-01"),
        ("~", None), ("!mine x", "x"), ("!mine [1]", [1]), ("!!binary aGk=", "hi"), ("!!str 1", "1"),
        ("{y: 1, 2: 3, ~: 4}", {"true": 1, "2": 3, "null": 4}),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    assert yaml.load(f"a: {text}".encode()) == ({"a": value}, [])


@pytest.mark.parametrize(("text", "value"), [(b"", None), (b"# nothing", None), (b"a: 1\n---\nb: [", {"a": 1})])
def test_the_first_document_is_read(text: bytes, value: Any) -> None:
    assert yaml.load(text) == (value, [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a: b: c", "mapping values are not allowed in this context"),
        (b"a:\n\tb: c", "line 2: found character that cannot start any token"),
        (b"{", "line 1: did not find expected node content"),
        (b"a: &x [*x]", "anchor value contains itself"),
        (b"a: .inf", "json: unsupported value: +Inf"),
        (b"{? {a: b} : c}", "invalid map key"),
    ],
)
def test_faults(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("+", r"\+")):
        yaml.load(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("7", '"7"'),
        ("", '""'),
        ("true", '"true"'),
        ("on", '"on"'),
        ("n", '"n"'),
        ("2020-01-01T00:00:00Z", '"2020-01-01T00:00:00Z"'),
        ("a: b", "'a: b'"),
        ("plain words", "plain words"),
        ("two\nlines\n", "|\n  two\n  lines"),
        (7, "7"),
    ],
)
def test_what_is_quoted(value, text):
    assert yaml.dump({"a": value}).decode() == f"a: {text}\n"


@pytest.mark.parametrize(
    ("text", "why"), [(b"a\0b", "control characters are not allowed"), (b"\xd9\xd9", "invalid trailing UTF-8 octet")]
)
def test_what_is_no_text(text, why):
    with pytest.raises(ValueError, match=f"^{why}$"):
        yaml.load(text)
