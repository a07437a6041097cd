"""Metrics in Prometheus' text format (version 0.0.4) or as OpenMetrics (1.0.0), whichever is asked for.

A page is put together when it is asked for, from what its owner counts anyway; nothing is registered anywhere.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_Key = TypeVar("_Key", bound=tuple[str, ...])
_NO_LABELS: Mapping[str, str] = {}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family:
    """The samples of one metric. `kind` is `counter`, `gauge` or `histogram`."""

    __slots__ = ("_help", "_kind", "_samples", "name")

    def __init__(self, name: str, kind: str, help: str) -> None:
        self.name = name
        self._kind = kind
        self._help = help.replace("\\", r"\\").replace("\n", r"\n")
        self._samples: list[tuple[str, int | None]] = []

    def add(
        self, value: float, labels: Mapping[str, str] = _NO_LABELS, *, at_ms: int | None = None, suffix: str = ""
    ) -> Family:
        """Add a sample, and give the family back."""
        pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
        braces = f"{{{pairs}}}" if pairs else ""
        self._samples.append((f"{self.name}{suffix}{braces} {_number(value)}", at_ms))
        return self

    @property
    def is_empty(self) -> bool:
        return not self._samples

    @property
    def lines(self) -> Sequence[str]:
        """In the text format."""
        return [
            f"# HELP {self.name} {self._help}",
            f"# TYPE {self.name} {self._kind}",
            *(line if at_ms is None else f"{line} {at_ms}" for line, at_ms in self._samples),
        ]

    @property
    def open_lines(self) -> Sequence[str]:
        """As OpenMetrics: a counter is named without `_total`, a time is in seconds."""
        name, kind = self.name, self._kind
        if kind == "counter":
            name = self.name.removesuffix("_total")
            kind = kind if name != self.name else "unknown"
        escaped = self._help.replace('"', r"\"")
        return [
            f"# HELP {name} {escaped}",
            f"# TYPE {name} {kind}",
            *(line if at_ms is None else f"{line} {at_ms / 1000}" for line, at_ms in self._samples),
        ]


class Histogram:
    """Counts observations by how large they are."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def add_to(self, family: Family, labels: Mapping[str, str] = _NO_LABELS) -> None:
        """Add its samples to a family of kind `histogram`."""
        add_histogram(family, self._bounds, self._counts, self._sum, labels)


def labelled(
    name: str, kind: str, help: str, labels: Sequence[str], values: Mapping[_Key, float | Histogram]
) -> Family:
    """A family with a sample of each value, keyed by what its `labels` say. Of a histogram, a `counter` counts the observations."""
    family = Family(name, kind, help)
    for key, value in values.items():
        named = dict(zip(labels, key, strict=True))
        if not isinstance(value, Histogram):
            family.add(value, named)
        elif kind == "histogram":
            value.add_to(family, named)
        else:
            family.add(value.count, named)
    return family


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Bounds, each `factor` times the one before."""
    return tuple(first * factor**power for power in range(count))


def add_histogram(
    family: Family,
    bounds: Sequence[float],
    counts: Sequence[int],
    total: float,
    labels: Mapping[str, str] = _NO_LABELS,
) -> None:
    """Add to a family of kind `histogram` how many observations fell into each bucket, the last of which has no bound."""
    for bound, count in zip((*map(_number, bounds), "+Inf"), accumulate(counts), strict=True):
        family.add(count, {**labels, "le": bound}, suffix="_bucket")
    family.add(total, labels, suffix="_sum")
    family.add(sum(counts), labels, suffix="_count")


def render(families: Iterable[Family], *, as_openmetrics: bool = False) -> bytes:
    """The page; families without samples are left out."""
    if as_openmetrics:
        lines = [line for family in families if not family.is_empty for line in family.open_lines]
        return "\n".join([*lines, "# EOF", ""]).encode()
    lines = [line for family in families if not family.is_empty for line in family.lines]
    return ("\n".join(lines) + "\n").encode()


def wants_openmetrics(accept: str) -> bool:
    """Whether an `Accept` header prefers OpenMetrics to the text format."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        media_type, *parameters = (text.strip() for text in part.split(";"))
        if media_type not in best:
            continue
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            best[media_type] = max(best[media_type], float(quality))
        except ValueError:
            continue
    return best["application/openmetrics-text"] > 0 and best["application/openmetrics-text"] >= best["text/plain"]


def process(started_at: float) -> Iterable[Family]:
    """What every process tells of itself. `started_at` is in seconds since the epoch."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = usage.ru_utime + usage.ru_stime
    yield Family("process_cpu_seconds_total", "counter", "CPU time of this process").add(round(seconds, 3))
    yield Family("process_start_time_seconds", "gauge", "When this process started").add(started_at)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield Family("process_max_fds", "gauge", "How many files it may have open").add(limit)
    try:
        with open("/proc/self/statm") as statm:
            virtual, resident = statm.read().split()[:2]
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:
        return
    page = resource.getpagesize()
    yield Family("process_open_fds", "gauge", "How many files it has open").add(descriptors)
    yield Family("process_resident_memory_bytes", "gauge", "Memory that it holds").add(int(resident) * page)
    yield Family("process_virtual_memory_bytes", "gauge", "Its address space").add(int(virtual) * page)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
