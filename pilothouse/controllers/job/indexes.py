"""Sets of completion indexes, as a status writes them: `0,2-5,7`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_AFTER_ALL = float("inf")


@dataclass(frozen=True, slots=True)
class Indexes:
    """A set of numbers as spans `(first, last)` in order, no two of which touch."""

    spans: tuple[tuple[int, int], ...] = ()

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self.spans, (index, _AFTER_ALL)) - 1
        return at >= 0 and index <= self.spans[at][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)

    def __or__(self, other: Indexes) -> Indexes:
        return Indexes(_joined((*self.spans, *other.spans)))

    def __str__(self) -> str:
        return ",".join(_text(first, last) for first, last in self.spans)

    def common(self, other: Indexes) -> int:
        """How many numbers are in both."""
        return len(self) + len(other) - len(self | other)

    def missing(self, below: int) -> Iterator[int]:
        """The numbers less than `below` that are not in the set, in order."""
        start = 0
        for first, last in self.spans:
            yield from range(start, min(first, below))
            start = last + 1
        yield from range(start, below)


NONE = Indexes()


def of(numbers: Iterable[int]) -> Indexes:
    return Indexes(_joined((number, number) for number in numbers))


def parse(text: str, below: int) -> Indexes:
    """The numbers less than `below` in `text`; what is no number is passed over."""
    spans = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal() and int(first) < below:
            spans.append((int(first), min(int(last or first), below - 1)))
    return Indexes(_joined(spans))


def _joined(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        elif first <= last:
            joined.append((first, last))
    return tuple(joined)


def _text(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"
