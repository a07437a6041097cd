from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import quantity
from pilothouse.api.quantity import Format, Quantity


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", "-3.01e-", "1Zi", "1e1000",
             "1_0", "٣", "0x1"]
)  # fmt: skip
def test_bad_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantities must match|unable to parse quantity's suffix"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"), ("0Ki", "0"), ("0.0", "0"), ("-0", "0"), ("1", "1"), ("1000m", "1"), ("1500m", "1500m"), ("1.5", "1500m"),
        ("0.5Gi", "512Mi"), ("1.5Gi", "1536Mi"), ("1024Mi", "1Gi"), ("1023Mi", "1023Mi"), ("512", "512"), ("1000", "1k"),
        ("1000000", "1M"), ("1024", "1024"), ("1024Ki", "1Mi"), ("0.001", "1m"), ("0.1m", "100u"), ("0.0000000001", "1n"),
        ("1e3", "1e3"), ("1000e3", "1e6"), ("12e6", "12e6"), ("1E", "1E"), ("1E3", "1E3"), ("100k", "100k"), ("0.25Ki", "256"),
        ("0.0009Ki", "921600u"), ("8Ki", "8Ki"), ("16Ei", "9223372036854775807"), ("-1.5", "-1500m"), ("-1Gi", "-1Gi"),
        ("2000Gi", "2000Gi"), ("1P", "1P"), ("100m", "100m"), ("0.1", "100m"), ("10", "10"), ("1.2345k", "1234500m"),
        ("1000E", "1000E"),
    ],
)  # fmt: skip
def test_canonical(text: str, canonical: str) -> None:
    assert str(quantity.parse(text)) == canonical
    assert quantity.canonical(f" {text} ") == canonical


@pytest.mark.parametrize(
    ("value", "milli", "whole"),
    [
        ("100m", 100, 1), ("1", 1000, 1), (2, 2000, 2), (0.5, 500, 1), ("1.1", 1100, 2), ("1n", 1, 1), ("1Ki", 1024000, 1024),
        ("-1.5", -1500, -2), ("0", 0, 0), ("1.5Gi", 1536 * 2**20 * 1000, 1536 * 2**20),
    ],
)  # fmt: skip
def test_rounds_up(value: str | int | float, milli: int, whole: int) -> None:
    assert quantity.to_milli(value) == milli
    assert quantity.to_int(value) == whole


def test_arithmetic_keeps_the_format() -> None:
    assert str(Quantity(0) + quantity.parse("1Gi")) == "1Gi"
    assert str(quantity.parse("1Gi") + quantity.parse("512M")) == "1548576Ki"
    assert str(quantity.parse("1") - quantity.parse("100m")) == "900m"
    assert str(-quantity.parse("1Ki")) == "-1Ki"
    assert str(quantity.parse("1Ki") * 2) == "2Ki"
    assert quantity.parse("1000m") == quantity.parse("1")
    assert quantity.parse("1Ki") > quantity.parse("1k")
    assert hash(quantity.parse("1000m")) == hash(quantity.parse("1"))


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(Format))
def test_round_trip(value: int, format: Format) -> None:
    original = Quantity.of(value, format)
    again = quantity.parse(str(original))
    assert again == original
    if not (format is Format.BINARY and str(original)[-1].isdigit()):  # no suffix says that it is binary
        assert str(again) == str(original)


@given(st.from_regex(r"[+-]?[0-9]{1,5}(\.[0-9]{0,4})?(n|u|m|k|M|G|Ki|Mi|Gi|e[0-9]|e-[0-9])?", fullmatch=True))
def test_canonical_form_is_the_same_amount(text: str) -> None:
    parsed = quantity.parse(text)
    assert quantity.parse(str(parsed)) == parsed
    assert parsed.milli * 10**6 >= parsed.nano or parsed.nano < 0
