"""Event."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

EVENT = Resource(
    gvr.CORE_EVENTS,
    other_versions=(gvr.EVENTS,),
    short_names=("ev",),
    has_generation=False,
)
