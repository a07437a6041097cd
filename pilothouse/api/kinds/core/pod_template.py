"""PodTemplate."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

POD_TEMPLATE = Resource(
    gvr.POD_TEMPLATES,
)
