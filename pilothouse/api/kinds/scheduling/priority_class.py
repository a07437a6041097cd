"""PriorityClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

PRIORITY_CLASS = Resource(
    gvr.PRIORITY_CLASSES,
    short_names=("pc",),
    has_generation=False,
)
