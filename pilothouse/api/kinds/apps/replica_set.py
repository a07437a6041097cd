"""ReplicaSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, number, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import SCALE, STATUS, Resource, ScalePaths
from pilothouse.kit.deferred import Deferred

REPLICA_SET = Resource(
    gvr.REPLICA_SETS,
    short_names=("rs",),
    categories=("all",),
    subresources=(
        SCALE,
        STATUS,
    ),
    scale=ScalePaths(),
    columns=(
        NAME,
        number("Desired", "spec", "replicas"),
        number("Current", "status", "replicas"),
        number("Ready", "status", "readyReplicas"),
        AGE,
        *template_columns("spec", "template"),
    ),
    drop_disabled=disabled_fields.of_pods("spec", "template"),
    prepare_create=clears_status(gvr.REPLICA_SETS),
    warnings=pod_warnings.of_template("spec", "template", names_pods=True),
    update_warnings=pod_warnings.of_changed_template("spec", "template"),
    validate=Deferred("pilothouse.api.validate.workload", "validate_replica_set"),
    validate_update=Deferred("pilothouse.api.validate.workload", "validate_selector_update"),
    validate_status_update=Deferred("pilothouse.api.validate.workload", "validate_replica_set_status_update"),
)
