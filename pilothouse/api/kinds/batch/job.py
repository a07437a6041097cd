"""Job."""

from __future__ import annotations

from pilothouse.api import duration, gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, View, at, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import Object, is_condition_true, parse_time
from pilothouse.api.resource import STATUS, Column, Dependents, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
_UID_LABEL = "batch.kubernetes.io/controller-uid"
_UID_LABELS = ("controller-uid", _UID_LABEL)


def _prepare_create(draft: Object) -> None:
    spec = draft.setdefault("spec", {})
    if not spec.get("manualSelector"):
        _select_by_uid(spec, draft["metadata"])
    clears_status(gvr.JOBS)(draft)


def _select_by_uid(spec: Object, metadata: Object) -> None:
    """Labels and a selector by which the job's pods are its alone. What the user set stays, for validation to judge."""
    own = {**dict.fromkeys(_NAME_LABELS, metadata["name"]), **dict.fromkeys(_UID_LABELS, metadata["uid"])}
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    given = template.get("labels")
    template["labels"] = {**own, **(given or {})}
    if metadata.get("labels") is given:
        # The job without labels of its own took the template's when defaults were filled in, and takes these as well.
        metadata["labels"] = dict(template["labels"])
    selector = spec.setdefault("selector", {})
    selector["matchLabels"] = {_UID_LABEL: metadata["uid"], **(selector.get("matchLabels") or {})}


_STATES = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
)


def _status(obj: View, now: float) -> str:
    conditions = at(obj, "status", "conditions")
    for condition, shown in _STATES:
        if is_condition_true(conditions, condition) if condition else "deletionTimestamp" in obj["metadata"]:
            return shown
    return "Running"


def _completions(obj: View, now: float) -> str:
    succeeded = at(obj, "status", "succeeded") or 0
    completions = at(obj, "spec", "completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = at(obj, "spec", "parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(obj: View, now: float) -> str:
    start = at(obj, "status", "startTime")
    if not start:
        return ""
    end = at(obj, "status", "completionTime")
    return duration.human_duration((parse_time(end) if end else now) - parse_time(start))


JOB = Resource(
    gvr.JOBS,
    metadata_checks=MetadataChecks.BOTH,
    is_checked_twice=True,
    dependents=Dependents.ORPHANED,
    orphans_warning=(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
        "propagationPolicy=Orphan to suppress this warning"
    ),
    categories=("all",),
    subresources=(STATUS,),
    selectable={"status.successful": lambda obj: str(at(obj, "status", "succeeded") or 0)},
    columns=(
        NAME,
        Column("Status", _status),
        Column("Completions", _completions),
        Column("Duration", _duration),
        AGE,
        *template_columns("spec", "template"),
    ),
    drop_disabled=disabled_fields.of_pods("spec", "template"),
    prepare_create=_prepare_create,
    warnings=pod_warnings.of_template("spec", "template", names_pods=True),
    update_warnings=pod_warnings.of_changed_template("spec", "template"),
    validate=Deferred("pilothouse.api.validate.job", "validate_job"),
    validate_update=Deferred("pilothouse.api.validate.job", "validate_job_update"),
    validate_status_update=Deferred("pilothouse.api.validate.job_status", "validate_job_status_update"),
)
