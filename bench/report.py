"""What was measured, beside what it may be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench.budgets import BUDGETS, budget


@dataclass(frozen=True, slots=True)
class Measurement:
    """`value` in its budget's unit; None if it could not be measured, for which `detail` gives the reason."""

    name: str
    value: float | None
    detail: str = ""


def line(measurement: Measurement) -> str:
    """One row of the table."""
    held = budget(measurement.name)
    value = measurement.value
    if value is None:
        measured, ratio, verdict = "-", "", "not measured"
    else:
        measured = _number(value)
        used = held.ratio(value)
        ratio = f"{used:.2f}" if used is not None else ""
        verdict = {True: "pass", False: "MISS", None: ""}[held.is_met(value)]
    limit = "" if held.limit is None else f"{'≥' if held.is_floor else '≤'} {_number(held.limit)}"
    row = f"{held.what:<72}{measured:>9}{limit:>9} {held.unit:<12}{ratio:>6}  {verdict:<13}{measurement.detail}"
    return row.rstrip()


def beside_header() -> str:
    return f"{'server CPU a request, store included':<72}{'Pilothouse':>11}{'upstream':>10} {'unit':<8}{'ratio':>7}"


def beside_line(ours: Measurement, theirs: Measurement) -> str:
    """One row of a run beside another server; the ratio is how many times as much the other uses."""
    held = budget(ours.name)
    if not ours.value or not theirs.value:
        return f"{held.what:<72}{'not measured':>11}  {ours.detail}; {theirs.detail}"
    numbers = f"{_number(ours.value):>11}{_number(theirs.value):>10}"
    return f"{held.what:<72}{numbers} {held.unit:<8}{theirs.value / ours.value:>6.1f}x  {ours.detail}; {theirs.detail}"


def header() -> str:
    return f"{'':<72}{'measured':>9}{'budget':>9} {'unit':<12}{'ratio':>6}"


def summary(measurements: Sequence[Measurement]) -> str:
    verdicts = [budget(found.name).is_met(found.value) for found in measurements if found.value is not None]
    return f"{verdicts.count(True)} budgets met, {verdicts.count(False)} missed"


def as_json(measurements: Sequence[Measurement], machine: dict[str, object]) -> str:
    rows = []
    for measurement in sorted(measurements, key=_position):
        held = budget(measurement.name)
        value = measurement.value
        rows.append(
            {
                "name": held.name,
                "what": held.what,
                "unit": held.unit,
                "measured": value,
                "budget": held.limit,
                "isFloor": held.is_floor,
                "ratio": None if value is None else held.ratio(value),
                "met": None if value is None else held.is_met(value),
                "detail": measurement.detail,
            }
        )
    return json.dumps({"machine": machine, "measurements": rows}, indent=2)


def _position(measurement: Measurement) -> int:
    return BUDGETS.index(budget(measurement.name))


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"
