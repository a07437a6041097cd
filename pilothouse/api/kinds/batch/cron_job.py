"""CronJob."""

from __future__ import annotations

from pilothouse.api import duration, gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, NONE, UNSET, View, at, count, template_columns, text
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, Resource
from pilothouse.kit.deferred import Deferred


def _suspend(obj: View, now: float) -> str:
    suspended = at(obj, "spec", "suspend")
    return UNSET if suspended is None else str(suspended)


def _last_schedule(obj: View, now: float) -> str:
    last = at(obj, "status", "lastScheduleTime")
    return duration.age(last, now) if last else NONE


CRON_JOB = Resource(
    gvr.CRON_JOBS,
    short_names=("cj",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        NAME,
        text("Schedule", "spec", "schedule"),
        text("Timezone", "spec", "timeZone", empty=NONE),
        Column("Suspend", _suspend, "boolean"),
        count("Active", "status", "active"),
        Column("Last Schedule", _last_schedule),
        AGE,
        *template_columns(
            "spec", "jobTemplate", "spec", "template", selector_path=("spec", "jobTemplate", "spec", "selector")
        ),
    ),
    drop_disabled=disabled_fields.of_pods("spec", "jobTemplate", "spec", "template"),
    prepare_create=clears_status(gvr.CRON_JOBS),
    warnings=pod_warnings.of_template("spec", "jobTemplate", "spec", "template", names_pods=True),
    update_warnings=pod_warnings.of_changed_template("spec", "jobTemplate", "spec", "template"),
    validate=Deferred("pilothouse.api.validate.job", "validate_cron_job"),
)
