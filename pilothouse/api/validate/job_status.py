"""What a Job's status may say. A rule counts only where the update touches what it is about, so that a status that was odd before may
be set right step by step.

Source: `pkg/apis/batch/validation`, `pkg/registry/batch/job/strategy.go` (`getStatusValidationOptions`), KEP-4368.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pilothouse.api.path import FieldError, Path, duplicate, invalid, required
from pilothouse.api.validate.job import count_indexes, index_ranges
from pilothouse.api.validate.values import IMMUTABLE, Errors, Part, check_not_negative

_STATUS = Path("status")
_CONDITIONS = _STATUS.child("conditions")
_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")


class _Update:
    """The status before and after, and what of it changed."""

    def __init__(self, new: Part, old: Part) -> None:
        self.spec: Part = new.get("spec") or {}
        self.now: Part = new.get("status") or {}
        self.then: Part = old.get("status") or {}
        self.true, self.was_true = _true(self.now), _true(self.then)
        self.finished = bool(self.true & {"Complete", "Failed"})
        self.ended = self.finished != bool(self.was_true & {"Complete", "Failed"})
        """Whether the Job finished with this update, or is no longer finished."""

    def changed(self, *fields: str) -> bool:
        return any(self.now.get(field) != self.then.get(field) for field in fields)

    def turned(self, *conditions: str) -> bool:
        return any((one in self.true) != (one in self.was_true) for one in conditions)


def _true(status: Part) -> set[str]:
    return {one.get("type", "") for one in status.get("conditions") or () if one.get("status") == "True"}


def validate_job_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    update = _Update(new, old)
    for field in _COUNTS:
        check_not_negative(update.now, field, _STATUS, errors)
    _check_uncounted(update.now.get("uncountedTerminatedPods") or {}, errors)
    _check_times(update, errors)
    _check_end(update, errors)
    _check_indexes(update, errors)
    _check_pods(update, errors)
    _check_success(update, errors)
    _check_steps(update, errors)
    return errors


def _clash(text: str, errors: Errors) -> None:
    errors.append(FieldError("FieldValueInvalid", _CONDITIONS, detail=text))


def _check_uncounted(uncounted: Part, errors: Errors) -> None:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate(uncounted.get(field) or ()):
            path = _STATUS.child("uncountedTerminatedPods", field).index(i)
            if not uid:
                errors.append(invalid(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)


def _check_times(update: _Update, errors: Errors) -> None:
    """The conditions of the end, and the times of start and end."""
    complete = "Complete" in update.true
    if complete and "Failed" in update.true and update.turned("Complete", "Failed"):
        _clash("cannot set Complete=True and Failed=true conditions", errors)
    if complete and "FailureTarget" in update.true and update.turned("Complete", "FailureTarget"):
        _clash("cannot set Complete=True and FailureTarget=true conditions", errors)
    path, end, start = _STATUS.child("completionTime"), update.now.get("completionTime"), update.now.get("startTime")
    if update.turned("Complete") or update.changed("completionTime"):
        if end is not None and not complete:
            text = "cannot set completionTime when there is no Complete=True condition"
            errors.append(invalid(path, end, text))
        if end is None and complete:
            errors.append(required(path, "completionTime is required for Complete jobs"))
    if start is not None and end is not None and end < start and update.changed("startTime", "completionTime"):
        errors.append(invalid(path, end, "must be equal to or after `startTime`"))


def _check_end(update: _Update, errors: Errors) -> None:
    fails = update.turned("Failed") or update.changed("failedIndexes")
    if fails and "Failed" in update.true and "FailureTarget" not in update.true:
        _clash("cannot set Failed=True condition without the FailureTarget=true condition", errors)
    completes = update.turned("Complete", "SuccessCriteriaMet")
    if completes and "Complete" in update.true and "SuccessCriteriaMet" not in update.true:
        _clash("cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors)
    if not update.finished:
        return
    active = update.now.get("active", 0)
    if active > 0 and (update.ended or update.changed("active")):
        errors.append(invalid(_STATUS.child("active"), active, "active>0 is invalid for finished job"))
    never_started = update.spec.get("suspend") and update.spec.get("completions") == 0
    if "startTime" not in update.now and (update.ended or update.changed("startTime")) and not never_started:
        errors.append(required(_STATUS.child("startTime"), "startTime is required for finished job"))
    uncounted = update.now.get("uncountedTerminatedPods") or {}
    if (uncounted.get("failed") or uncounted.get("succeeded")) and (
        update.ended or update.changed("uncountedTerminatedPods")
    ):
        path = _STATUS.child("uncountedTerminatedPods")
        errors.append(invalid(path, uncounted, "must be empty for finished job"))


def _check_indexes(update: _Update, errors: Errors) -> None:
    completions = update.spec.get("completions")
    done, failed = update.now.get("completedIndexes", ""), update.now.get("failedIndexes")
    at_done, at_failed = _STATUS.child("completedIndexes"), _STATUS.child("failedIndexes")
    done_changed, failed_changed = update.changed("completedIndexes"), update.changed("failedIndexes")
    if done_changed and completions is not None and (fault := _fault(done, completions)):
        errors.append(invalid(at_done, done, f"error parsing completedIndexes: {fault}"))
    by_index = "backoffLimitPerIndex" in update.spec
    if failed is None or completions is None:
        fault = ""
    else:
        fault = _fault(failed, completions) if failed_changed and by_index else ""
    if fault:
        errors.append(invalid(at_failed, failed, f"error parsing failedIndexes: {fault}"))
    if done_changed and done and update.spec.get("completionMode") != "Indexed":
        text = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(invalid(at_done, done, text))
    if failed_changed and failed is not None and not by_index:
        text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(invalid(at_failed, failed, text))
    if failed is None or completions is None or not (done_changed or failed_changed):
        return
    if fault := _overlap(done, failed, completions):
        errors.append(invalid(at_failed, failed, fault))


def _fault(indexes: str, completions: int) -> str:
    try:
        count_indexes(indexes, completions)
    except ValueError as error:
        return str(error)
    return ""


def _overlap(done: str, failed: str, completions: int) -> str:
    completed = _good_ranges(done, completions)
    for low, high in _good_ranges(failed, completions):
        for other_low, other_high in completed:
            if (shared := max(low, other_low)) <= min(high, other_high):
                return f"failedIndexes and completedIndexes overlap at index: {shared}"
    return ""


def _good_ranges(indexes: str, completions: int) -> list[tuple[int, int]]:
    """The ranges that can be read; who cannot be read is told elsewhere."""
    ranges: list[tuple[int, int]] = []
    for one in indexes.split(","):
        with suppress(ValueError):
            ranges += index_ranges(one, completions)
    return ranges


def _check_pods(update: _Update, errors: Errors) -> None:
    ending, ready = update.now.get("terminating") or 0, update.now.get("ready")
    if ending > 0 and update.finished and (update.ended or update.changed("terminating")):
        text = "terminating>0 is invalid for finished job"
        errors.append(invalid(_STATUS.child("terminating"), ending, text))
    if ready is not None and ready > update.now.get("active", 0) and update.changed("ready", "active"):
        errors.append(invalid(_STATUS.child("ready"), ready, "cannot set more ready pods than active"))


def _check_success(update: _Update, errors: Errors) -> None:
    met = "SuccessCriteriaMet" in update.true
    if met and "Failed" in update.true:
        _clash("cannot set SuccessCriteriaMet=True and Failed=true conditions", errors)
    if met and "FailureTarget" in update.true:
        _clash("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors)
    if "successPolicy" in update.spec and not met and "Complete" in update.true:
        text = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        _clash(text, errors)


def _check_steps(update: _Update, errors: Errors) -> None:
    """What never goes back."""
    for kind in ("Failed", "Complete", "FailureTarget"):
        if kind in update.was_true and kind not in update.true:
            _clash(f"cannot disable the terminal {kind}=True condition", errors)
    spec = update.spec
    # A Job whose completions and parallelism are one number may be made smaller.
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for field in ("failed",) if elastic else ("failed", "succeeded"):
        if update.now.get(field, 0) < update.then.get(field, 0):
            text = f"cannot decrease the {field} counter"
            errors.append(invalid(_STATUS.child(field), update.now.get(field, 0), text))
    completed: Any = update.then.get("completionTime")
    if completed is not None and update.now.get("completionTime") not in (None, completed):
        errors.append(invalid(_STATUS.child("completionTime"), update.now["completionTime"], IMMUTABLE))
    if update.then.get("startTime") is not None and update.changed("startTime"):
        resumes = "Suspended" in update.was_true and "Suspended" in _false(update.now)
        if not spec.get("suspend") and not resumes:
            text = "field is immutable for unsuspended job once set"
            errors.append(invalid(_STATUS.child("startTime"), update.now.get("startTime"), text))
    met, was_met = "SuccessCriteriaMet" in update.true, "SuccessCriteriaMet" in update.was_true
    if was_met and not met:
        _clash("cannot disable the SuccessCriteriaMet=True condition", errors)
    if "Complete" in update.was_true and met and not was_met:
        _clash("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions", errors)


def _false(status: Part) -> set[str]:
    return {one.get("type", "") for one in status.get("conditions") or () if one.get("status") == "False"}
