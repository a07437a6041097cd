"""ResourceSlice."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

RESOURCE_SLICE = Resource(
    gvr.RESOURCE_SLICES,
)
