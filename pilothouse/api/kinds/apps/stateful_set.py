"""StatefulSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at, template_columns
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import SCALE, STATUS, Column, Resource, ScalePaths


def _ready(obj: View, now: float) -> str:
    return f"{at(obj, 'status', 'readyReplicas') or 0}/{at(obj, 'spec', 'replicas') or 0}"


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
    prepare_create=clears_status(gvr.STATEFUL_SETS),
)
