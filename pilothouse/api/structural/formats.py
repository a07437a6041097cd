"""The string formats that schemas may ask for; unknown ones are not checked, as upstream.

Source: kube-openapi `pkg/validation/strfmt`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from urllib.parse import urlsplit

_HEX4 = r"[0-9a-f]{4}"
_PATTERNS = {
    "hostname": (
        r"(?:[a-zA-Z0-9](?:-?[a-zA-Z0-9]{0,62})?|(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,63})"
    ),
    "uuid": rf"(?i:[0-9a-f]{{8}}-?{_HEX4}-?{_HEX4}-?{_HEX4}-?[0-9a-f]{{12}})",
    "uuid3": rf"(?i:[0-9a-f]{{8}}-?{_HEX4}-?3[0-9a-f]{{3}}-?{_HEX4}-?[0-9a-f]{{12}})",
    "uuid4": rf"(?i:[0-9a-f]{{8}}-?{_HEX4}-?4[0-9a-f]{{3}}-?[89ab][0-9a-f]{{3}}-?[0-9a-f]{{12}})",
    "uuid5": rf"(?i:[0-9a-f]{{8}}-?{_HEX4}-?5[0-9a-f]{{3}}-?[89ab][0-9a-f]{{3}}-?[0-9a-f]{{12}})",
    "ssn": r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}",
    "hexcolor": r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})",
    "rgbcolor": r"rgb\(\s*(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])(?:\s*,\s*(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])){2}\s*\)",
    "bsonobjectid": r"[0-9a-fA-F]{24}",
    "mac": r"(?i:[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}(?:(?:[:-][0-9a-f]{2}){2})?|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2,3})",
    "email": r"[^@\s]+@[^@\s]+",
    "k8sshortname": r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
    "k8slongname": r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*",
    "duration": (
        r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)"
        r"|\d+\s*(?:ns|nanos?|nanoseconds?|us|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?"
        r"|h|hours?|hrs?|d|days?|w|weeks?)"
    ),
    "creditcard": (
        r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
        r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})"
    ),
}


def normalized(name: str) -> str:
    """`date-time` and `datetime` are the same format."""
    return name.replace("-", "")


def is_known(type_: str, name: str) -> bool:
    """Whether values of the type are checked against the format."""
    match type_:
        case "" | "string":
            return normalized(name) in _CHECKS or normalized(name) in _PATTERNS
        case "integer":
            return name in ("int32", "int64")
        case "number":
            return name in ("float", "double")
        case _:
            return False


def matches(name: str, text: str) -> bool:
    """Whether a string is of a known format."""
    name = normalized(name)
    check = _CHECKS.get(name)
    if check is None:
        subject = re.sub(r"\D", "", text) if name == "creditcard" else text
        return _pattern(name).fullmatch(subject) is not None
    try:
        return check(text)
    except ValueError:
        return False


@lru_cache(maxsize=32)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(_PATTERNS[name], re.ASCII)


def _date(text: str) -> bool:
    return len(text) == 10 and bool(date.fromisoformat(text))


def _date_time(text: str) -> bool:
    if re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", text) is None or (
        text[-1:] not in "Zz" and text[-6:-5] not in "+-"
    ):
        return False
    main, _, rest = text.partition(".")
    if rest:
        # Any number of digits may follow the seconds.
        offset = re.sub(r"^\d+", "", rest)
        if offset == rest:
            return False
        text = main + offset
    return bool(datetime.fromisoformat(text.upper()))


def _byte(text: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except binascii.Error:
        return False


def _ipv4(text: str) -> bool:
    return ipaddress.ip_address(text).version == 4


def _ipv6(text: str) -> bool:
    return ":" in text and ipaddress.ip_address(text).version == 6


def _cidr(text: str) -> bool:
    return "/" in text and text.rpartition("/")[2].isdigit() and bool(ipaddress.ip_interface(text))


def _uri(text: str) -> bool:
    if not text or any(letter.isspace() or letter < " " for letter in text):
        return False
    return text.startswith("/") or bool(urlsplit(text).scheme)


def _isbn(text: str, length: int) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if len(digits) != length:
        return False
    if length == 10:
        values = [10 if digit in "Xx" and at == 9 else int(digit) for at, digit in enumerate(digits)]
        return sum(value * (10 - at) for at, value in enumerate(values)) % 11 == 0
    return sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits)) % 10 == 0


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "date": _date,
    "datetime": _date_time,
    "byte": _byte,
    "password": lambda text: True,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "cidr": _cidr,
    "uri": _uri,
    "isbn": lambda text: _isbn(text, 10) or _isbn(text, 13),
    "isbn10": lambda text: _isbn(text, 10),
    "isbn13": lambda text: _isbn(text, 13),
}
