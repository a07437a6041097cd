"""CSINode."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

CSI_NODE = Resource(
    gvr.CSI_NODES,
    has_generation=False,
    unconditional_update=False,
)
