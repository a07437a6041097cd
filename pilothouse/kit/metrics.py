"""Metrics in Prometheus' text format (version 0.0.4).

A page is put together when it is asked for, from what its owner counts anyway; nothing is registered anywhere.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_LABELS: Mapping[str, str] = {}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family:
    """The samples of one metric. `kind` is `counter`, `gauge` or `histogram`."""

    __slots__ = ("lines", "name")

    def __init__(self, name: str, kind: str, help: str) -> None:
        self.name = name
        self.lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]

    def add(
        self, value: float, labels: Mapping[str, str] = _NO_LABELS, *, at_ms: int | None = None, suffix: str = ""
    ) -> Family:
        """Add a sample, and give the family back."""
        pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
        braces = f"{{{pairs}}}" if pairs else ""
        stamp = "" if at_ms is None else f" {at_ms}"
        self.lines.append(f"{self.name}{suffix}{braces} {_number(value)}{stamp}")
        return self

    @property
    def is_empty(self) -> bool:
        return len(self.lines) == 2


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

    def add_to(self, family: Family, labels: Mapping[str, str] = _NO_LABELS) -> None:
        """Add its samples to a family of kind `histogram`."""
        bounds = (*map(_number, self._bounds), "+Inf")
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            family.add(count, {**labels, "le": bound}, suffix="_bucket")
        family.add(self._sum, labels, suffix="_sum")
        family.add(sum(self._counts), labels, suffix="_count")


def render(families: Iterable[Family]) -> bytes:
    """The page; families without samples are left out."""
    lines = [line for family in families if not family.is_empty for line in family.lines]
    return ("\n".join(lines) + "\n").encode()


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
