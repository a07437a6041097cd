"""ReplicaSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, number, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import SCALE, STATUS, Resource, ScalePaths

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
    prepare_create=clears_status(gvr.REPLICA_SETS),
)
