"""Budgets are held against measurements in the right direction."""

from __future__ import annotations

import json

import pytest

from bench.budgets import BUDGETS, Budget, budget
from bench.report import Measurement, as_json, line, summary

AT_MOST = Budget("a", "A", "s", 2)
AT_LEAST = Budget("b", "B", "pods/s", 400, is_floor=True)
SHOWN = Budget("c", "C", "s", None)


def test_each_budget_has_a_name_of_its_own() -> None:
    assert len({found.name for found in BUDGETS}) == len(BUDGETS)


@pytest.mark.parametrize(
    ("held", "value", "met", "ratio"),
    [
        (AT_MOST, 2.0, True, 1.0),
        (AT_MOST, 3.0, False, 1.5),
        (AT_LEAST, 400.0, True, 1.0),
        (AT_LEAST, 200.0, False, 2.0),
        (SHOWN, 9.0, None, None),
    ],
)
def test_a_ratio_above_one_is_a_miss(held: Budget, value: float, met: bool | None, ratio: float | None) -> None:
    assert held.is_met(value) is met
    assert held.ratio(value) == ratio


def test_nothing_where_something_was_due_is_a_miss() -> None:
    assert AT_LEAST.is_met(0.0) is False
    assert AT_LEAST.ratio(0.0) is None


def test_what_was_not_measured_is_said_and_not_counted() -> None:
    missing = Measurement("verbs.apply", None, "the server answers 415")
    assert "not measured" in line(missing)
    assert line(missing).endswith("the server answers 415")
    assert summary([missing, Measurement("verbs.get_pod", 0.01)]) == "1 budgets met, 0 missed"


def test_json_has_budgets_beside_measurements_in_the_table_s_order() -> None:
    made = as_json([Measurement("verbs.get_pod", 0.12), Measurement("startup.api", 0.4)], {"cores": 2})
    rows = json.loads(made)["measurements"]
    assert [row["name"] for row in rows] == ["startup.api", "verbs.get_pod"]
    assert rows[1]["met"] is False
    assert rows[1]["ratio"] == pytest.approx(2.0)
    assert rows[1]["budget"] == budget("verbs.get_pod").limit
