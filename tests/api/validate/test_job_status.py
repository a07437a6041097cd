"""Steps of a Job's status, and what is said of those that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.validate.job_status import validate_job_status_update
from tests.api.validate.loaded import texts

START, END = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


def status(*true: str, **fields: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True"} for kind in true], **fields}


COMPLETE = status("SuccessCriteriaMet", "Complete", startTime=START, completionTime=END, succeeded=1)
FAILED = status("FailureTarget", "Failed", startTime=START, failed=1)


def faults(old: dict[str, Any], new: dict[str, Any], spec: dict[str, Any] | None = None) -> list[str]:
    job = {"spec": spec or {"completions": 3, "parallelism": 1}}
    return texts(validate_job_status_update({**job, "status": new}, {**job, "status": old}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"startTime": START, "active": 2, "ready": 1}),
        ({"startTime": START}, COMPLETE),
        ({"startTime": START}, FAILED),
        (COMPLETE, {**COMPLETE, "terminating": 0}),
        ({**COMPLETE, "active": 1}, {**COMPLETE, "active": 1, "ready": 0}),
    ],
)
def test_steps_that_may_be(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert faults(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"active": -1}, ["status.active: Invalid value: -1: must be greater than or equal to 0"]),
        ({}, {"active": 1, "ready": 2}, ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
        (
            {},
            {"uncountedTerminatedPods": {"failed": ["", "a"], "succeeded": ["a"]}},
            [
                'status.uncountedTerminatedPods.failed[0]: Invalid value: "": must not be empty',
                'status.uncountedTerminatedPods.failed[1]: Duplicate value: "a"',
            ],
        ),
        ({"failed": 2}, {"failed": 1}, ["status.failed: Invalid value: 1: cannot decrease the failed counter"]),
        (
            {"startTime": START},
            {"startTime": END},
            [f'status.startTime: Invalid value: "{END}": field is immutable for unsuspended job once set'],
        ),
        (
            {"startTime": START},
            {"startTime": START, "completionTime": END},
            [
                f'status.completionTime: Invalid value: "{END}": cannot set completionTime when there is no Complete=True condition'
            ],
        ),
        (
            {},
            {"completedIndexes": "1"},
            ['status.completedIndexes: Invalid value: "1": cannot set non-empty completedIndexes when non-indexed completion mode'],
        ),
    ],
)  # fmt: skip
def test_steps_that_may_not(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert faults(old, new) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (COMPLETE, {"startTime": START}, ["Complete=True condition", "SuccessCriteriaMet=True condition"]),
        ({"startTime": START}, status("Failed", startTime=START), ["without the FailureTarget=true"]),
        ({"startTime": START}, {**COMPLETE, "active": 1}, ["active>0 is invalid for finished job"]),
        ({}, status("FailureTarget", "Failed"), ["startTime is required for finished job"]),
    ],
)
def test_the_end_of_a_job(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    found = faults(old, new)
    assert all(any(text in fault for fault in found) for text in expected), found


def test_indexes_are_done_or_failed() -> None:
    spec = {"completions": 4, "parallelism": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 1}
    [fault] = faults({}, {"completedIndexes": "0-2", "failedIndexes": "2,3"}, spec)
    assert fault.endswith("failedIndexes and completedIndexes overlap at index: 2")
