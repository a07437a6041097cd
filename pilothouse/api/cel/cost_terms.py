"""The terms in which costs are estimated: ranges of them, and what the functions of calls see and say.

Costs and sizes are ranges of natural numbers, saturated at 64 bits. What is not known is unbounded.
Source: cel-go `checker/cost.go`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pilothouse.api.cel.ast import Node, Type

LIMIT = 2**64 - 1
TRAVERSAL = 0.1
"""Of one character."""
REGEX = 0.25
"""Of one character of a regular expression."""


class Range(NamedTuple):
    """From least to most."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(min(self.least + other.least, LIMIT), min(self.most + other.most, LIMIT))

    def times(self, other: Range) -> Range:
        return Range(min(self.least * other.least, LIMIT), min(self.most * other.most, LIMIT))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def _scaled(value: int, factor: float) -> int:
    return min(math.ceil(value * factor), LIMIT)


ZERO, ONE = Range(0, 0), Range(1, 1)
UNKNOWN = Range(0, LIMIT)
NOTHING = Range(LIMIT, 0)
"""The union of no ranges."""


@dataclass(frozen=True, slots=True)
class Argument:
    """Part of a call, as the costs of functions see it. `size` is None where nothing is known of it."""

    node: Node | None
    type: Type
    path: tuple[str, ...]
    size: Range | None


class Estimated(NamedTuple):
    """What a call costs beside its arguments, and how large its result is."""

    cost: Range
    size: Range | None = None


SizeAt = Callable[[tuple[str, ...]], Range | None]
"""How large what a path leads to may be; None if nobody knows."""


def sized(argument: Argument) -> Range:
    return UNKNOWN if argument.size is None else argument.size
