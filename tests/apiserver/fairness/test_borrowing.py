"""How seats move between levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.fairness.borrowing import Demand, Limits, Meter, adjust, allocate

ITEM = st.tuples(st.integers(0, 100), st.integers(0, 100), st.floats(0, 200)).map(
    lambda item: (float(item[0]), float(item[0] + item[1]), max(item[2], float(item[0])))
)


@given(st.lists(ITEM, min_size=1, max_size=8), st.integers(0, 800))
def test_shares_keep_their_bounds_and_follow_their_targets(items: list[tuple[float, float, float]], total: int) -> None:
    shares, multiple = allocate(total, items)
    low, high = sum(item[0] for item in items), sum(item[1] for item in items)
    assert sum(shares) == pytest.approx(min(max(total, low), high), abs=1e-6)
    for share, (lower, upper, target) in zip(shares, items, strict=True):
        assert lower - 1e-9 <= share <= upper + 1e-9
        if lower + 1e-6 < share < upper - 1e-6:
            assert share == pytest.approx(multiple * max(target, 0.001), rel=1e-6)


def levels(**given: Limits) -> dict[str, Limits]:
    return {"exempt": Limits(0, 0, 600, is_exempt=True), **given}


def demand(peak: int, smoothed: float | None = None) -> Demand:
    return Demand(peak, 0.0, 0.0, float(peak) if smoothed is None else smoothed)


def test_what_nobody_asks_for_is_shared_and_the_sum_stays() -> None:
    limits = levels(a=Limits(50, 25, 600), b=Limits(50, 25, 600))
    idle = adjust(limits, {"exempt": demand(0), "a": demand(0), "b": demand(0)}, 100)
    assert idle.seats == {"exempt": 0, "a": 50, "b": 50}
    busy = adjust(limits, {"exempt": demand(0), "a": demand(90), "b": demand(1)}, 100)
    assert busy.seats["b"] == 25
    assert busy.seats["a"] == 75
    assert busy.fair == pytest.approx(75 / 90)


def test_nobody_borrows_more_than_its_limit() -> None:
    limits = levels(a=Limits(50, 25, 60), b=Limits(50, 0, 600))
    assert adjust(limits, {"exempt": demand(0), "a": demand(200), "b": demand(0)}, 100).seats["a"] == 60


def test_the_exempt_take_what_they_need_first() -> None:
    limits = levels(a=Limits(50, 20, 600), b=Limits(50, 30, 600))
    demands = {"exempt": demand(70), "a": demand(50), "b": demand(50)}
    assert adjust(limits, demands, 100).seats == {"exempt": 70, "a": 20, "b": 30}
    demands["exempt"] = demand(25)
    assert adjust(limits, demands, 100).seats == {"exempt": 25, "a": 35, "b": 40}


def test_demand_is_forgotten_slowly() -> None:
    seen = Demand()
    seen.update(100, 80.0, 20.0)
    assert seen.smoothed == 100
    for _ in range(30):
        seen.update(0, 0.0, 0.0)
    assert seen.smoothed == pytest.approx(50, abs=1)


def test_demand_is_weighted_by_time() -> None:
    meter = Meter(0.0)
    meter.note(10, 5.0)
    average, deviation = meter.read(10.0)
    assert (average, deviation) == pytest.approx((5.0, 5.0))
    assert meter.read(20.0) == pytest.approx((10.0, 0.0))
