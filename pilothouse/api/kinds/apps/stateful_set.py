"""StatefulSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import SCALE, STATUS, Resource, ScalePaths

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
)
