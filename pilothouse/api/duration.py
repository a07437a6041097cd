"""How long something takes: for people (`42s`, `3m12s`, `5h`, `12d`; apimachinery `pkg/util/duration`), and as Go writes it (`1h30m`)."""

from __future__ import annotations

import re
from datetime import timedelta

from pilothouse.api.meta import parse_time

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def human_duration(seconds: float) -> str:
    """Two units at most, the second only while it matters."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    if whole < 8 * _YEAR:
        return _two(whole, _YEAR, "y", _DAY, "d")
    return f"{whole // _YEAR}y"


def _two(seconds: int, large: int, large_unit: str, small: int, small_unit: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large}{large_unit}{f'{rest}{small_unit}' if rest else ''}"


def age(timestamp: str | None, now: float) -> str:
    """The time since an RFC 3339 timestamp; `<unknown>` where there is none."""
    return human_duration(now - parse_time(timestamp)) if timestamp else "<unknown>"


_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")


def go_duration(text: str) -> timedelta:
    """What Go's `time.ParseDuration` reads. Raises ValueError with its message."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return timedelta()
    parts = _PART.findall(rest)
    if not rest or "".join(map("".join, parts)) != rest:
        raise ValueError(f'time: invalid duration "{text}"')
    seconds = 0.0
    for number, unit in parts:
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS_S:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        seconds += float(number) * _UNITS_S[unit]
    try:
        return timedelta(seconds=sign * seconds)
    except OverflowError:
        raise ValueError(f'time: invalid duration "{text}"') from None
