"""StatefulSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, View, at, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import SCALE, STATUS, Column, Resource, ScalePaths
from pilothouse.kit.deferred import Deferred


def _ready(obj: View, now: float) -> str:
    return f"{at(obj, 'status', 'readyReplicas') or 0}/{at(obj, 'spec', 'replicas') or 0}"


_of_template = pod_warnings.of_template("spec", "template")


def _warnings(obj: View) -> list[str]:
    warnings = list(_of_template(obj))
    for i, claim in enumerate(at(obj, "spec", "volumeClaimTemplates") or ()):
        warnings += pod_warnings.of_claim(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{i}]")
    if (at(obj, "spec", "revisionHistoryLimit") or 0) < 0:
        keeps = "a negative value retains all historical revisions; a value >= 0 is recommended"
        warnings.append(f"spec.revisionHistoryLimit: {keeps}")
    return warnings


STATEFUL_SET = Resource(
    gvr.STATEFUL_SETS,
    short_names=("sts",),
    categories=("all",),
    subresources=(
        SCALE,
        STATUS,
    ),
    scale=ScalePaths(),
    name_rule="dns-label",
    columns=(NAME, Column("Ready", _ready), AGE, *template_columns("spec", "template", selector_path=None)),
    drop_disabled=disabled_fields.of_stateful_set,
    prepare_create=clears_status(gvr.STATEFUL_SETS),
    warnings=_warnings,
    update_warnings=pod_warnings.of_changed_template("spec", "template"),
    validate=Deferred("pilothouse.api.validate.workload", "validate_stateful_set"),
    validate_update=Deferred("pilothouse.api.validate.workload", "validate_stateful_set_update"),
    validate_status_update=Deferred("pilothouse.api.validate.workload", "validate_stateful_set_status_update"),
)
