"""DeviceClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.resource import Resource

DEVICE_CLASS = Resource(
    gvr.DEVICE_CLASSES,
    columns=(NAME, AGE),
    returns_deleted=True,
)
