"""ReplicationController."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import disabled_fields, pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, at, labels, number, template_columns, value_of, wide
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import SCALE, STATUS, Dependents, Resource, ScalePaths
from pilothouse.kit.deferred import Deferred

REPLICATION_CONTROLLER = Resource(
    gvr.REPLICATION_CONTROLLERS,
    dependents=Dependents.ORPHANED,
    short_names=("rc",),
    name_rule="long-name",
    checks_base_name=False,
    categories=("all",),
    subresources=(
        SCALE,
        STATUS,
    ),
    scale=ScalePaths(selector_is_map=True),
    selectable={"status.replicas": value_of("status", "replicas")},
    columns=(
        NAME,
        number("Desired", "spec", "replicas"),
        number("Current", "status", "replicas"),
        number("Ready", "status", "readyReplicas"),
        AGE,
        *template_columns("spec", "template", selector_path=None),
        wide("Selector", lambda obj: labels(at(obj, "spec", "selector"))),
    ),
    drop_disabled=disabled_fields.of_pods("spec", "template"),
    prepare_create=clears_status(gvr.REPLICATION_CONTROLLERS),
    warnings=pod_warnings.of_template("spec", "template", names_pods=True),
    update_warnings=pod_warnings.of_changed_template("spec", "template"),
    validate=Deferred("pilothouse.api.validate.workload", "validate_replication_controller"),
    validate_status_update=Deferred("pilothouse.api.validate.workload", "validate_replica_set_status_update"),
)
