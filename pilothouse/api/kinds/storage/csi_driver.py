"""CSIDriver."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

CSI_DRIVER = Resource(
    gvr.CSI_DRIVERS,
    has_generation=False,
    unconditional_update=False,
)
