"""ReplicationController."""

from __future__ import annotations

from pilothouse.api import gvr
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
)
