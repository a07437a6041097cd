"""The named formats of expressions, and semantic versions. Source: apiserver `cel/library/{format,semverlib}.go`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime

from pilothouse.api import names
from pilothouse.api.cel.network import Url

Check = Callable[[str], Sequence[str]]
"""What is wrong with a text; nothing if it has the format."""

_is_uuid = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}").fullmatch
_is_semver_part = re.compile(r"[0-9A-Za-z-]+").fullmatch
_parse_semver = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-]"
    r"[0-9A-Za-z-]*))*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
).fullmatch


def _uri(text: str) -> list[str]:
    try:
        Url(text)
    except ValueError as error:
        return [str(error).removeprefix("URL parse error during conversion from string: ")]
    return []


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _date(text: str) -> list[str]:
    try:
        date.fromisoformat(text)
    except ValueError:
        return ["invalid date"]
    return [] if len(text) == 10 else ["invalid date"]


def _datetime(text: str) -> list[str]:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ["invalid datetime"]
    return [] if "T" in text.upper() else ["invalid datetime"]


def checks() -> Mapping[str, Check]:
    """By the name that an expression calls: `format.uuid()`."""
    return {
        "dns1123Label": names.dns_label,
        "dns1123Subdomain": names.dns_subdomain,
        "dns1035Label": names.dns_1035_label,
        "dns1123LabelPrefix": names.generated(names.dns_label),
        "dns1123SubdomainPrefix": names.generated(names.dns_subdomain),
        "dns1035LabelPrefix": names.generated(names.dns_1035_label),
        "qualifiedName": names.label_key,
        "labelValue": names.label_value,
        "uri": _uri,
        "uuid": lambda text: [] if _is_uuid(text) else ["does not match the UUID format"],
        "byte": _byte,
        "date": _date,
        "datetime": _datetime,
    }


class Semver:
    """A semantic version (semver.org). Raises ValueError."""

    def __init__(self, text: str, *, normalize: bool = False) -> None:
        if normalize:
            text = _normalized(text)
        match = _parse_semver(text)
        if match is None:
            raise ValueError(_semver_fault(text))
        self.text = text
        self.major, self.minor, self.patch = (int(match[group]) for group in (1, 2, 3))
        self._before = tuple(match[4].split(".")) if match[4] else ()

    def compare(self, other: Semver) -> int:
        """-1, 0 or 1; a version before a release is less than the release, build metadata does not count."""
        one, two = (self.major, self.minor, self.patch), (other.major, other.minor, other.patch)
        if one != two:
            return 1 if one > two else -1
        if not self._before or not other._before:
            return bool(other._before) - bool(self._before)
        mine, theirs = [_rank(part) for part in self._before], [_rank(part) for part in other._before]
        return (mine > theirs) - (mine < theirs)


def _semver_fault(text: str) -> str:
    """Why a text is no version, in the words of the library that upstream uses (blang/semver)."""
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) < 3:
        return "No Major.Minor.Patch elements found"
    core, plus, build = parts[2].partition("+")
    patch, dash, before = core.partition("-")
    for name, part in (("major", parts[0]), ("minor", parts[1]), ("patch", patch)):
        if not (part.isascii() and part.isdigit()):
            return f'Invalid character(s) found in {name} number "{part}"'
        if len(part) > 1 and part.startswith("0"):
            return f'{name.title()} number must not contain leading zeroes "{part}"'
    for part in before.split(".") if dash else ():
        if not part:
            return "Prerelease is empty"
        if not _is_semver_part(part):
            return f'Invalid character(s) found in prerelease "{part}"'
        if part.isdigit() and len(part) > 1 and part.startswith("0"):
            return f'Numeric PreRelease version must not contain leading zeroes "{part}"'
    for part in build.split(".") if plus else ():
        if not part:
            return "Build meta data is empty"
        if not _is_semver_part(part):
            return f'Invalid character(s) found in build meta data "{part}"'
    return f'invalid semantic version "{text}"'


def _rank(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


def _normalized(text: str) -> str:
    """Without a leading v, with three parts, without leading zeros."""
    head, dash, tail = text.removeprefix("v").partition("-")
    if not dash:
        head, dash, tail = head.partition("+")
    parts = [part.lstrip("0") or "0" if part.isdigit() else part for part in head.split(".")]
    return ".".join([*parts, *["0"] * (3 - len(parts))]) + dash + tail
