"""DaemonSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, View, at, labels, number, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, Column, Resource
from pilothouse.api.views.daemon_set import TEMPLATE_GENERATION
from pilothouse.kit.deferred import Deferred

"""Annotation that counts changes of the template; from before rollouts had revisions."""


def _prepare_create(draft: Object) -> None:
    clears_status(gvr.DAEMON_SETS)(draft)
    _set_template_generation(draft, 1)


def _prepare_update(draft: Object, old: View) -> None:
    """The template's generation, from before rollouts had revisions, counts changes of the template."""
    before = at(old, "metadata", "annotations", TEMPLATE_GENERATION) or "0"
    changed = at(draft, "spec", "template") != at(old, "spec", "template")
    _set_template_generation(draft, int(before) + changed)


def _set_template_generation(draft: Object, generation: int) -> None:
    metadata = draft["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(generation)}


DAEMON_SET = Resource(
    gvr.DAEMON_SETS,
    short_names=("ds",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        NAME,
        number("Desired", "status", "desiredNumberScheduled"),
        number("Current", "status", "currentNumberScheduled"),
        number("Ready", "status", "numberReady"),
        number("Up-to-date", "status", "updatedNumberScheduled"),
        number("Available", "status", "numberAvailable"),
        Column("Node Selector", lambda obj, now: labels(at(obj, "spec", "template", "spec", "nodeSelector"))),
        AGE,
        *template_columns("spec", "template"),
    ),
    drop_disabled=disabled_fields.of_pods("spec", "template"),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    warnings=pod_warnings.of_template("spec", "template"),
    update_warnings=pod_warnings.of_changed_template("spec", "template"),
    validate=Deferred("pilothouse.api.validate.workload", "validate_daemon_set"),
    validate_update=Deferred("pilothouse.api.validate.workload", "validate_selector_update"),
    validate_status_update=Deferred("pilothouse.api.validate.workload", "validate_daemon_set_status_update"),
)
