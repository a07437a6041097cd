"""Levels, versions, and what a namespace's labels ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from pilothouse.api.path import FieldError, Path, invalid

PREFIX = "pod-security.kubernetes.io/"
ENFORCE, AUDIT, WARN = f"{PREFIX}enforce", f"{PREFIX}audit", f"{PREFIX}warn"
LATEST = -1
_parse_minor = re.compile(r"v1\.([0-9]|[1-9][0-9]*)").fullmatch
_LABELS = Path("metadata.labels")


class Level(IntEnum):
    """In order of strictness."""

    PRIVILEGED = 0
    BASELINE = 1
    RESTRICTED = 2


@dataclass(frozen=True, slots=True)
class Standard:
    """A level as it was in a version: the minor version of v1, or LATEST."""

    level: Level
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level.name.lower()}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    def is_like(self, other: Standard) -> bool:
        return self == other or self.level == other.level == Level.PRIVILEGED


_FREE = Standard(Level.PRIVILEGED)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace refuses, records and warns of."""

    enforce: Standard = _FREE
    audit: Standard = _FREE
    warn: Standard = _FREE

    @property
    def is_privileged(self) -> bool:
        return self.enforce.level == self.audit.level == self.warn.level == Level.PRIVILEGED

    def is_like(self, other: Policy) -> bool:
        return self.enforce.is_like(other.enforce) and self.audit.is_like(other.audit) and self.warn.is_like(other.warn)


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[FieldError]]:
    """The policy of a namespace, which holds also where labels are wrong: strict where it refuses, lax where it only tells."""
    errors: list[FieldError] = []
    if PREFIX not in "".join(labels):
        return defaults, errors
    enforce = _standard(labels, ENFORCE, defaults.enforce, Level.RESTRICTED, errors)
    has_level = labels.get(ENFORCE) in _NAMES
    audit = _standard(labels, AUDIT, defaults.audit, Level.PRIVILEGED, errors)
    warn = _standard(labels, WARN, defaults.warn, Level.PRIVILEGED, errors)
    if WARN not in labels and has_level and enforce.level > warn.level:
        warn = Standard(enforce.level, warn.minor if f"{WARN}-version" in labels else enforce.minor)
    return Policy(enforce, audit, warn), errors


_NAMES = {level.name.lower(): level for level in Level}


def _standard(
    labels: Mapping[str, str], label: str, default: Standard, fallback: Level, errors: list[FieldError]
) -> Standard:
    standard = default
    if (text := labels.get(label)) is not None:
        if text not in _NAMES:
            errors.append(invalid(_LABELS.key(label), text, f"must be one of {', '.join(_NAMES)}"))
        standard = replace(standard, level=_NAMES.get(text, fallback))
    if (text := labels.get(f"{label}-version")) is not None:
        match = _parse_minor(text)
        if match is None and text != "latest":
            errors.append(invalid(_LABELS.key(f"{label}-version"), text, 'must be "latest" or "v1.x"'))
        standard = replace(standard, minor=int(match[1]) if match is not None else LATEST)
    return standard
