"""CSIStorageCapacity."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

CSI_STORAGE_CAPACITY = Resource(
    gvr.CSI_STORAGE_CAPACITIES,
    has_generation=False,
    unconditional_update=False,
)
