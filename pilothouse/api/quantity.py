"""Amounts of resources: exact numbers with a suffix.

A quantity is a whole number of billionths and a format (binary `Ki`, decimal `k`, exponent `e3`); it never passes through a float.
What is finer than a billionth is rounded away from zero. `str()` gives upstream's canonical form: no fraction, the largest suffix
that loses nothing. Source: apimachinery `pkg/api/resource/quantity.go`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import total_ordering

from pilothouse.kit.remembered import remembered

_NANO = 10**9
_MILLI = 10**6
"""Billionths in a thousandth."""
_MAX_BINARY = (2**63 - 1) * _NANO
_MAX_EXPONENT = 400
"""Larger exponents are refused: their digits would cost memory and mean nothing."""

_split = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)").fullmatch

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

_WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_WRONG_SUFFIX = "unable to parse quantity's suffix"


class Format(StrEnum):
    """How a quantity is written; it keeps the one it was read in."""

    BINARY = "BinarySI"
    DECIMAL = "DecimalSI"
    EXPONENT = "DecimalExponent"


@total_ordering
class Quantity:
    """An exact amount; immutable. Equal amounts are equal whatever their format."""

    __slots__ = ("_text", "format", "nano")

    def __init__(self, nano: int, format: Format = Format.DECIMAL, _text: str = "") -> None:
        self.nano = nano
        self.format = format
        self._text = _text

    @classmethod
    def of(cls, value: int, format: Format = Format.DECIMAL) -> Quantity:
        """The quantity of `value` whole units."""
        return cls(value * _NANO, format)

    @classmethod
    def of_milli(cls, value: int, format: Format = Format.DECIMAL) -> Quantity:
        return cls(value * _MILLI, format)

    def __str__(self) -> str:
        if not self._text:
            self._text = _written(self.nano, self.format)
        return self._text

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self.nano == other.nano if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __add__(self, other: Quantity) -> Quantity:
        """The sum, in the format of the first operand that is not zero."""
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(self.nano * factor, self.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format)

    @property
    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _rounded(self.nano, _MILLI)

    @property
    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _rounded(self.nano, _NANO)

    @property
    def is_whole(self) -> bool:
        return self.nano % _NANO == 0


def _rounded(amount: int, unit: int) -> int:
    return -(-amount // unit) if amount > 0 else amount // unit


@remembered(4096)
def parse(text: str) -> Quantity:
    """The quantity that `text` writes. Raises ValueError with upstream's message."""
    if text.isdigit() and text.isascii() and text[0] != "0" and len(text) < 19:
        return Quantity(int(text) * _NANO, Format.DECIMAL, "" if text.endswith("000") else text)
    match = _split(text) if text else None
    if match is None:
        raise ValueError(_WRONG_FORMAT)
    sign, whole, fraction, suffix = match.groups()
    whole, fraction = whole or "0", fraction or ""
    format, power_of_2, power_of_10 = _suffix(suffix)
    digits = whole + fraction
    amount, shift = int(digits) << power_of_2, power_of_10 - len(fraction) + 9
    nano = amount * 10**shift if shift >= 0 else -(-amount // 10 ** min(-shift, len(digits) + 20))
    is_capped = format is Format.BINARY and nano > _MAX_BINARY
    if format is Format.BINARY:
        nano = min(nano, _MAX_BINARY)
        if 0 < nano < _NANO:
            format = Format.DECIMAL
    kept = text if not is_capped and _is_written_well(format, digits, fraction, power_of_10) else ""
    return Quantity(-nano if sign == "-" else nano, format, kept)


def _suffix(suffix: str) -> tuple[Format, int, int]:
    """Format, power of two and power of ten of a suffix."""
    if suffix in _DECIMAL:
        return Format.DECIMAL, 0, _DECIMAL[suffix]
    if suffix in _BINARY:
        return Format.BINARY, _BINARY[suffix], 0
    if suffix[0] in "eE":
        try:
            exponent = int(suffix[1:])
        except ValueError:
            raise ValueError(_WRONG_SUFFIX) from None
        if abs(exponent) <= _MAX_EXPONENT:
            return Format.EXPONENT, 0, exponent
    raise ValueError(_WRONG_SUFFIX)


def _is_written_well(format: Format, digits: str, fraction: str, power_of_10: int) -> bool:
    """Whether upstream keeps the text as it was given rather than making it canonical."""
    if len(digits) > 18:
        return False
    if format is Format.BINARY:
        return not fraction and int(digits) & 7 != 0
    scale = power_of_10 - len(fraction)
    return scale % 3 == 0 and scale >= -9 and not digits.endswith("000") and digits[0] != "0"


def _written(nano: int, format: Format) -> str:
    if nano == 0:
        return "0"
    if format is Format.BINARY and abs(nano) >= 1024 * _NANO and nano % _NANO == 0:
        amount, step = nano // _NANO, 0
        while amount % 1024 == 0 and step < 6:
            amount, step = amount // 1024, step + 1
        return f"{amount}{_BINARY_SUFFIXES[step]}"
    amount, exponent = nano, -9
    while amount % 1000 == 0 and (exponent < 18 or format is Format.EXPONENT):
        amount, exponent = amount // 1000, exponent + 3
    if format is Format.EXPONENT:
        return f"{amount}e{exponent}" if exponent else str(amount)
    return f"{amount}{_DECIMAL_SUFFIX[exponent]}"


def _read(value: str | int | float) -> Quantity:
    return parse(value.strip() if isinstance(value, str) else str(value))


@remembered(4096)
def canonical(value: str | int | float) -> str:
    """How a quantity found in JSON (a string or a number) is stored and shown. Raises ValueError."""
    return str(_read(value))


@remembered(4096)
def to_milli(value: str | int | float) -> int:
    """Thousandths of a quantity as it stands in an object, rounded up. Raises ValueError."""
    return _read(value).milli


@remembered(4096)
def to_int(value: str | int | float) -> int:
    """Whole units of a quantity as it stands in an object, rounded up. Raises ValueError."""
    return _read(value).value
