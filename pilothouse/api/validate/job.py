"""Jobs and CronJobs. Source: `pkg/apis/batch/validation`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pilothouse.api import cron, names, selector
from pilothouse.api.path import (
    FieldError,
    Path,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from pilothouse.api.status import BadRequest
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.pod import check_pod_template
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import (
    IMMUTABLE,
    Errors,
    Part,
    check_domain_prefixed_path,
    check_immutable_field,
    check_name,
    check_not_negative,
    check_required_choice,
)

_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
    "maxFailedIndexes",
)  # fmt: skip
_FIXED = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_SUCCESS_POLICY = {"Rules": [{"SucceededIndexes": None, "SucceededCount": None}]}
_MANY = 100_000
_MANY_LIMIT = 10_000
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_UID, _NAME = "controller-uid", "job-name"
_PLACEMENT = ("nodeSelector", "tolerations", "schedulingGates")
_is_zone_part = re.compile(r"[A-Za-z.\-_0-9+]{1,14}").fullmatch
_SPEC = Path("spec")
_STATUS = Path("status")


def validate_job(job: Part) -> list[FieldError]:
    errors: Errors = []
    spec = job.get("spec") or {}
    if not spec.get("manualSelector") and "selector" in spec:
        _check_generated_selector(job, spec, errors)
    _check_spec(spec, _SPEC, errors)
    chosen = spec.get("selector")
    if chosen is None:
        errors.append(required(_SPEC.child("selector")))
    else:
        check_label_selector(chosen, _SPEC.child("selector"), errors)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not _matches(chosen, labels):
        text = "`selector` does not match template `labels`"
        errors.append(invalid(_SPEC.child("template", "metadata", "labels"), labels or None, text))
    completions = spec.get("completions", 0)
    if spec.get("completionMode") == "Indexed" and completions > 0:
        name = job["metadata"].get("name", "")
        longest = f"{name}-{completions - 1}"
        if names.dns_label(longest):
            text = f"will not able to create pod with invalid DNS label: {longest}"
            errors.append(invalid(Path("metadata.name"), name, text))
    return errors


def _matches(chosen: Part | None, labels: Part) -> bool:
    """Whether a selector matches; one that cannot be read is reported elsewhere."""
    try:
        return selector.from_object(chosen).matches(labels)
    except BadRequest:
        return True


def _check_generated_selector(job: Part, spec: Part, errors: Errors) -> None:
    uid, name = job["metadata"].get("uid", ""), job["metadata"].get("name", "")
    if not uid:
        errors.append(required(Path("metadata.uid")))
    path = _SPEC.child("template", "metadata", "labels")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    expected: dict[str, str] = {}
    for key, value in (
        (_UID, uid),
        (_NAME, name),
        (f"batch.kubernetes.io/{_UID}", uid),
        (f"batch.kubernetes.io/{_NAME}", name),
    ):
        expected[key] = value
        if key not in labels:
            errors.append(required(path.key(key), f"must be '{value}'"))
        elif labels[key] != value:
            errors.append(invalid(path.key(key), labels, f"must be '{value}'"))
    if not _matches(spec.get("selector"), expected):
        errors.append(invalid(_SPEC.child("selector"), spec["selector"], "`selector` not auto-generated"))


def _check_spec(spec: Part, path: Path, errors: Errors) -> None:
    for field in _COUNTS:
        check_not_negative(spec, field, path, errors)
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        errors.append(required(path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
    if "managedBy" in spec:
        check_domain_prefixed_path(spec["managedBy"], path.child("managedBy"), errors)
        if len(spec["managedBy"]) > 63:
            errors.append(too_long(path.child("managedBy"), 63))
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(path.child("completionMode"), mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        _check_indexed(spec, path, errors)
    elif mode == "NonIndexed":
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if field in spec:
                errors.append(invalid(path.child(field), spec[field], "requires indexed completion mode"))
    if (policy := spec.get("podFailurePolicy")) is not None:
        _check_failure_policy(policy, spec, path.child("podFailurePolicy", "rules"), errors)
    policy = spec.get("successPolicy")
    if policy is not None and mode != "Indexed":
        value = shown(policy, _SUCCESS_POLICY)
        errors.append(invalid(path.child("successPolicy"), value, "requires indexed completion mode"))
    elif policy is not None:
        _check_success_policy(policy, spec.get("completions", 0), path.child("successPolicy", "rules"), errors)
    replacement = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    if replacement is not None and replacement not in allowed:
        errors.append(not_supported(path.child("podReplacementPolicy"), replacement, allowed))
    template = spec.get("template") or {}
    check_pod_template(template, path.child("template"), errors)
    _check_restart_policy(spec, (template.get("spec") or {}).get("restartPolicy", ""), path, errors)


def _check_restart_policy(spec: Part, restart: str, path: Path, errors: Errors) -> None:
    here = path.child("template", "spec", "restartPolicy")
    if restart in ("", "Always"):
        errors.append(required(here, 'valid values: "OnFailure", "Never"'))
    elif restart not in ("OnFailure", "Never"):
        errors.append(not_supported(here, restart, ("OnFailure", "Never")))
    elif "podFailurePolicy" in spec and restart != "Never":
        errors.append(invalid(here, restart, 'only "Never" is supported when podFailurePolicy is specified'))


def _check_indexed(spec: Part, path: Path, errors: Errors) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism", 0)
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        errors.append(required(path.child("completions"), "when completion mode is Indexed"))
    if parallelism > _MANY:
        text = f"must be less than or equal to {_MANY} when completion mode is Indexed"
        errors.append(invalid(path.child("parallelism"), parallelism, text))
    if failed is not None:
        if completions is not None and failed > completions:
            errors.append(invalid(path.child("maxFailedIndexes"), failed, "must be less than or equal to completions"))
        if failed > _MANY:
            errors.append(invalid(path.child("maxFailedIndexes"), failed, f"must be less than or equal to {_MANY}"))
    if completions is None or completions <= _MANY or "backoffLimitPerIndex" not in spec:
        return
    if failed is None:
        text = f"must be specified when completions is above {_MANY}"
        errors.append(required(path.child("maxFailedIndexes"), text))
    for field, value in (("parallelism", parallelism), ("maxFailedIndexes", failed or 0)):
        if value > _MANY_LIMIT:
            text = (
                f"must be less than or equal to {_MANY_LIMIT} when completions are above {_MANY} and used with backoff "
                "limit per index"
            )
            errors.append(invalid(path.child(field), value, text))


def _check_failure_policy(policy: Part, spec: Part, path: Path, errors: Errors) -> None:
    rules = policy.get("rules") or ()
    if len(rules) > 20:
        errors.append(too_many(path, len(rules), 20))
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = {each.get("name") for field in ("containers", "initContainers") for each in pod.get(field) or ()}
    for i, rule in enumerate(rules):
        here, action = path.index(i), rule.get("action", "")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if not action:
            errors.append(required(here.child("action"), 'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'))
        elif action not in _ACTIONS:
            errors.append(not_supported(here.child("action"), action, _ACTIONS))
        elif action == "FailIndex" and "backoffLimitPerIndex" not in spec:
            errors.append(invalid(here.child("action"), action, "requires the backoffLimitPerIndex to be set"))
        if codes is not None:
            _check_exit_codes(codes, containers, here.child("onExitCodes"), errors)
        _check_conditions(conditions, here.child("onPodConditions"), errors)
        if codes is not None and conditions:
            text = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(FieldError("FieldValueInvalid", here, detail=text))
        if codes is None and not conditions:
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(FieldError("FieldValueInvalid", here, detail=text))


def _check_conditions(conditions: Sequence[Part], path: Path, errors: Errors) -> None:
    if len(conditions) > 20:
        errors.append(too_many(path, len(conditions), 20))
    for i, pattern in enumerate(conditions):
        check_name(names.label_key, pattern.get("type", ""), path.index(i).child("type"), errors)
        status, here = pattern.get("status", ""), path.index(i).child("status")
        if not status:
            errors.append(required(here, 'valid values: ["False" "True" "Unknown"]'))
        elif status not in ("False", "True", "Unknown"):
            errors.append(not_supported(here, status, ("False", "True", "Unknown")))


def _check_exit_codes(codes: Part, containers: set[Any], path: Path, errors: Errors) -> None:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        errors.append(required(path.child("operator"), 'valid values: ["In" "NotIn"]'))
    elif operator not in ("In", "NotIn"):
        errors.append(not_supported(path.child("operator"), operator, ("In", "NotIn")))
    if "containerName" in codes and codes["containerName"] not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(path.child("containerName"), codes["containerName"], text))
    here = path.child("values")
    if not values:
        errors.append(invalid(here, codes.get("values"), "at least one value is required"))
    elif len(values) > 255:
        errors.append(too_many(here, len(values), 255))
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid(here.index(i), value, "must not be 0 for the In operator"))
        if value in values[:i]:
            errors.append(duplicate(here.index(i), value))
    if values != sorted(values):
        errors.append(invalid(here, values, "must be ordered"))


def _check_success_policy(policy: Part, completions: int, path: Path, errors: Errors) -> None:
    rules = policy.get("rules") or ()
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(path, text))
    if len(rules) > 20:
        errors.append(too_many(path, len(rules), 20))
    for i, rule in enumerate(rules):
        here, indexes, count = path.index(i), rule.get("succeededIndexes"), rule.get("succeededCount")
        if indexes is None and count is None:
            text = "at least one of succeededCount or succeededIndexes must be specified"
            errors.append(required(here, text))
        total = 0
        if indexes is not None:
            try:
                total = count_indexes(indexes, completions)
            except ValueError as error:
                text = f"error parsing succeededIndexes: {error}"
                errors.append(invalid(here.child("succeededIndexes"), indexes, text))
        if count is not None:
            check_not_negative(rule, "succeededCount", here, errors)
            text = "must be less than or equal to {} (the number of {})"
            if count > completions:
                limit = text.format(completions, "specified completions")
                errors.append(invalid(here.child("succeededCount"), count, limit))
            if indexes is not None and count > total:
                limit = text.format(total, "indexes in the specified succeededIndexes field")
                errors.append(invalid(here.child("succeededCount"), count, limit))


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a list such as `1,3-5` names. Raises ValueError for one that is malformed, unordered or too large."""
    return sum(last - first + 1 for first, last in index_ranges(text, completions))


def index_ranges(text: str, completions: int) -> list[tuple[int, int]]:
    """The first and last index of every part of such a list. Raises ValueError as `count_indexes` does."""
    found: list[tuple[int, int]] = []
    previous = -1
    for interval in text.split(",") if text else ():
        limits = interval.split("-")
        if len(limits) > 2:
            rule = "violates the requirement that an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{interval}" {rule}')
        for limit in limits:
            if not (limit.isascii() and limit.isdigit()):
                raise ValueError(f'cannot convert string to integer for index: "{limit}"')
            if int(limit) >= completions:
                raise ValueError(f'too large index: "{limit}"')
        first, last = int(limits[0]), int(limits[-1])
        if first <= previous:
            raise ValueError(f"non-increasing order, previous: {previous}, current: {first}")
        if first > last or (len(limits) == 2 and first == last):
            raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
        found.append((first, last))
        previous = last
    return found


def validate_job_update(new: Part, old: Part) -> list[FieldError]:
    """What a Job runs is fixed once it has started; while suspended before its start, its pods may be placed and sized anew."""
    errors: Errors = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    completions = spec.get("completions")
    if completions != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            errors.append(invalid(_SPEC.child("completions"), completions, IMMUTABLE))
        elif completions is not None and completions != spec.get("parallelism"):
            text = "can only be modified in tandem with spec.parallelism"
            errors.append(invalid(_SPEC.child("completions"), completions, text))
    waiting = bool(before.get("suspend")) and not (old.get("status") or {}).get("startTime")
    template, template_before = spec.get("template") or {}, before.get("template") or {}
    if waiting:
        template, template_before = _without_placement(template), _without_placement(template_before)
    if template != template_before:
        path, value = _SPEC.child("template"), spec.get("template") or {}
        if waiting:
            path, value = path.child("spec"), value.get("spec")
        errors.append(invalid(path, value, IMMUTABLE))
    for field in _FIXED:
        check_immutable_field(spec, before, field, _SPEC, errors)
    return errors


def _without_placement(template: Part) -> dict[str, Any]:
    """A template without what may change before its Job starts."""
    pod = {key: value for key, value in (template.get("spec") or {}).items() if key not in _PLACEMENT}
    affinity = {key: value for key, value in (pod.pop("affinity", None) or {}).items() if key != "nodeAffinity"}
    if affinity:
        pod["affinity"] = affinity
    for field in ("containers", "initContainers"):
        if field in pod:
            pod[field] = [{key: value for key, value in each.items() if key != "resources"} for each in pod[field]]
    return {"spec": pod}


def validate_cron_job(cron_job: Part) -> list[FieldError]:
    errors: Errors = []
    spec = cron_job.get("spec") or {}
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    path = _SPEC.child("schedule")
    if not schedule:
        errors.append(required(path))
    else:
        try:
            cron.parse(schedule)
        except ValueError as error:
            errors.append(invalid(path, schedule, str(error)))
        if "TZ" in schedule:
            text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            errors.append(invalid(path, schedule, text))
    if zone is not None:
        _check_time_zone(zone, _SPEC.child("timeZone"), errors)
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        check_not_negative(spec, field, _SPEC, errors)
    check_required_choice(spec, "concurrencyPolicy", ("Allow", "Forbid", "Replace"), _SPEC, errors)
    job, here = (spec.get("jobTemplate") or {}).get("spec") or {}, _SPEC.child("jobTemplate", "spec")
    _check_spec(job, here, errors)
    if "selector" in job:
        errors.append(invalid(here.child("selector"), job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        errors.append(not_supported(here.child("manualSelector"), True, ("nil", "false")))
    name = cron_job["metadata"].get("name", "")
    if "resourceVersion" not in cron_job["metadata"] and len(name) > 52:
        errors.append(invalid(Path("metadata.name"), name, "must be no more than 52 characters"))
    return errors


def _check_time_zone(zone: str, path: Path, errors: Errors) -> None:
    if not zone:
        errors.append(invalid(path, zone, "timeZone must be nil or non-empty string"))
        return
    parts = zone.split("/")
    if any(part in (".", "..") or part.startswith("-") or not _is_zone_part(part) for part in parts):
        errors.append(invalid(path, zone, f"unknown time zone {zone}"))
        return
    if zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        errors.append(invalid(path, zone, text))
        if zone != "Local":
            errors.append(invalid(path, zone, f"unknown time zone {zone}"))
        return
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        errors.append(invalid(path, zone, f"unknown time zone {zone}"))
