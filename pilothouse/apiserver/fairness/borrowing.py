"""How seats move between priority levels: every ten seconds, towards what each level has lately asked for. Pure.

Source: KEP-1040, apiserver `pkg/util/flowcontrol/conc_alloc.go`, `apf_controller.go` (`updateBorrowing`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

PERIOD_S = 10.0
_DECAY = 0.977
"""Per period; a level's demand is half forgotten after five minutes."""
_LEAST_TARGET = 0.001


class Limits(NamedTuple):
    """The seats of a level, by its configuration."""

    nominal: int
    lower: int
    upper: int
    is_exempt: bool = False


@dataclass(slots=True)
class Demand:
    """How many seats a level could have used: over the last period, and smoothed over those before."""

    peak: int = 0
    average: float = 0.0
    deviation: float = 0.0
    smoothed: float = 0.0

    def update(self, peak: int, average: float, deviation: float) -> None:
        envelope = average + deviation
        self.peak, self.average, self.deviation = peak, average, deviation
        self.smoothed = max(envelope, _DECAY * self.smoothed + (1 - _DECAY) * envelope)


class Meter:
    """Measures a level's demand over a period, weighted by time."""

    __slots__ = ("_area", "_area_squared", "_began", "_demand", "_since")

    def __init__(self, now: float) -> None:
        self._demand = 0
        self._area = self._area_squared = 0.0
        self._began = self._since = now

    def note(self, demand: int, now: float) -> None:
        """The demand is `demand` from now on."""
        elapsed_s = now - self._since
        self._area += self._demand * elapsed_s
        self._area_squared += self._demand * self._demand * elapsed_s
        self._demand, self._since = demand, now

    def read(self, now: float) -> tuple[float, float]:
        """The average and the standard deviation since this was last asked."""
        self.note(self._demand, now)
        length_s = now - self._began
        average, squares = (
            (self._area / length_s, self._area_squared / length_s)
            if length_s > 0
            else (self._demand, self._demand * self._demand)
        )
        self._area = self._area_squared = 0.0
        self._began = now
        return average, math.sqrt(max(0.0, squares - average * average))


class Adjusted(NamedTuple):
    """The seats that each level has now, and the fair share that led to it; 0 where there was none."""

    seats: Mapping[str, int]
    targets: Mapping[str, float]
    fair: float


def adjust(limits: Mapping[str, Limits], demands: Mapping[str, Demand], total: int) -> Adjusted:
    """`total` is the sum of the nominal seats of all levels."""
    least: dict[str, int] = {}
    targets: dict[str, float] = {}
    remaining, lower_sum, least_sum = total, 0, 0
    for name, limit in limits.items():
        demand = demands[name]
        if limit.is_exempt:
            least[name] = max(limit.lower, demand.peak)
            remaining -= least[name]
            targets[name] = least[name]
        else:
            least[name] = max(limit.lower, min(limit.nominal, demand.peak))
            targets[name] = max(least[name], demand.smoothed)
            lower_sum += limit.lower
            least_sum += least[name]
    limited = [name for name, limit in limits.items() if not limit.is_exempt]
    seats = {name: least[name] for name, limit in limits.items() if limit.is_exempt}
    fair = 0.0
    if remaining <= lower_sum:
        seats |= {name: limits[name].lower for name in limited}
    elif remaining <= least_sum:
        part = (remaining - lower_sum) / (least_sum - lower_sum)
        seats |= {
            name: limits[name].lower + round_half_up((least[name] - limits[name].lower) * part) for name in limited
        }
    else:
        items = [(float(least[name]), float(limits[name].upper), targets[name]) for name in limited]
        allocated, fair = allocate(float(total), items)
        seats |= {name: round_half_up(share) for name, share in zip(limited, allocated, strict=True)}
    return Adjusted(seats, targets, fair)


def allocate(total: float, items: Sequence[tuple[float, float, float]]) -> tuple[list[float], float]:
    """Shares of `total` between a lower and an upper bound, each otherwise the same multiple of its target; and that multiple.

    `items` are (lower, upper, target). Where the bounds leave no choice, all are at their lower or all at their upper ones.
    """
    targets = [max(target, _LEAST_TARGET) for _, _, target in items]
    bounds = sorted(
        bound / target for (lower, upper, _), target in zip(items, targets, strict=True) for bound in (lower, upper)
    )

    def shares(multiple: float) -> list[float]:
        return [
            min(max(lower, multiple * target), upper) for (lower, upper, _), target in zip(items, targets, strict=True)
        ]

    if not items or total <= sum(shares(bounds[0])):
        return [lower for lower, _, _ in items], bounds[0] if bounds else 0.0
    # What all shares together come to is linear between two neighbouring bounds.
    for left, right in pairwise(bounds):
        low, high = sum(shares(left)), sum(shares(right))
        if total <= high:
            multiple = left if high == low else left + (right - left) * (total - low) / (high - low)
            return shares(multiple), multiple
    return [upper for _, upper, _ in items], bounds[-1]


def round_half_up(value: float) -> int:
    return math.floor(value + 0.5)
