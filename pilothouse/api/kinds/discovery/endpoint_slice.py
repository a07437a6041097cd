"""EndpointSlice."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

ENDPOINT_SLICE = Resource(
    gvr.ENDPOINT_SLICES,
)
