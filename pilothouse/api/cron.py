"""Schedules of CronJobs: the five fields of a crontab line, or a descriptor such as `@daily` or `@every 1h`.

Source: robfig/cron v3's standard parser, which upstream uses: `?` is `*`, `7` is no weekday, days of month and week combine with "or"
unless one of them is `*`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MONTHS = {
    name: i
    for i, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS),
)  # fmt: skip
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_duration = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|h|m|s)")
_time_zone = re.compile(r"(?:CRON_)?TZ=\S+ +")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a schedule fires: at the minutes whose every field is in its set, or every `every_s` seconds."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = False
    """Whether the day of month was `*`: then the weekday alone decides, and the other way round for `any_weekday`."""
    any_weekday: bool = False
    every_s: int = 0


def parse(text: str) -> Schedule:
    """Raises ValueError with a message for the user."""
    if not text:
        raise ValueError("empty spec string")
    line = _time_zone.sub("", text, count=1) if _time_zone.match(text) else text
    if line.startswith("@every "):
        return Schedule(every_s=max(int(_seconds(line.removeprefix("@every "), line)), 1))
    if line.startswith("@"):
        if line not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {line}")
        line = _DESCRIPTORS[line]
    fields = line.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = (
        _field(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True)
    )
    return Schedule(minutes, hours, days, months, weekdays, _is_any(fields[2]), _is_any(fields[4]))


def _seconds(text: str, line: str) -> float:
    parts = _duration.findall(text)
    if not parts or "".join(parts) != text:
        raise ValueError(f'failed to parse duration {line}: time: invalid duration "{text}"')
    total = 0.0
    for part in parts:
        unit = part.lstrip("0123456789.")
        total += float(part.removesuffix(unit)) * _UNITS[unit]
    return total


def _is_any(field: str) -> bool:
    return any(part[:1] in ("*", "?") and "/" not in part for part in field.split(","))


def _field(field: str, low: int, high: int, known: Mapping[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in field.split(","):
        values.update(_range(part, low, high, known))
    return frozenset(values)


def _range(part: str, low: int, high: int, known: Mapping[str, int]) -> range:
    span, slash, step_text = part.partition("/")
    if "/" in step_text:
        raise ValueError(f"too many slashes: {part}")
    first_text, hyphen, last_text = span.partition("-")
    if "-" in last_text:
        raise ValueError(f"too many hyphens: {part}")
    if first_text in ("*", "?"):
        first, last = low, high
    else:
        first = _number(first_text, part, known)
        last = _number(last_text, part, known) if hyphen else high if slash else first
    step = _number(step_text, part, {}) if slash else 1
    if first < low:
        raise ValueError(f"beginning of range ({first}) below minimum ({low}): {part}")
    if last > high:
        raise ValueError(f"end of range ({last}) above maximum ({high}): {part}")
    if first > last:
        raise ValueError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {part}")
    return range(first, last + 1, step)


def _number(text: str, part: str, known: Mapping[str, int]) -> int:
    if (named := known.get(text.lower())) is not None:
        return named
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"failed to parse int from {part}")
    return int(text)
