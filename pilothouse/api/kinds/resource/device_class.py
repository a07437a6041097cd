"""DeviceClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

DEVICE_CLASS = Resource(
    gvr.DEVICE_CLASSES,
)
