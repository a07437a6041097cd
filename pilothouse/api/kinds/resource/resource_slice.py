"""ResourceSlice."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, text, value_of
from pilothouse.api.resource import Resource

RESOURCE_SLICE = Resource(
    gvr.RESOURCE_SLICES,
    selectable={"spec.nodeName": value_of("spec", "nodeName"), "spec.driver": value_of("spec", "driver")},
    columns=(
        NAME,
        text("Node", "spec", "nodeName"),
        text("Driver", "spec", "driver"),
        text("Pool", "spec", "pool", "name"),
        AGE,
    ),
    returns_deleted=True,
)
