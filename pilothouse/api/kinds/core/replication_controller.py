"""ReplicationController."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, at, labels, number, template_columns, value_of, wide
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import SCALE, STATUS, Resource, ScalePaths

REPLICATION_CONTROLLER = Resource(
    gvr.REPLICATION_CONTROLLERS,
    short_names=("rc",),
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
    prepare_create=clears_status(gvr.REPLICATION_CONTROLLERS),
)
