"""ReplicaSet."""

from __future__ import annotations

from pilothouse.api import gvr
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
)
