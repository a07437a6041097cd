"""StorageClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

STORAGE_CLASS = Resource(
    gvr.STORAGE_CLASSES,
    short_names=("sc",),
    has_generation=False,
)
