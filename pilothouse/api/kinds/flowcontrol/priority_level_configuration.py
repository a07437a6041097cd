"""PriorityLevelConfiguration."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

PRIORITY_LEVEL_CONFIGURATION = Resource(
    gvr.PRIORITY_LEVEL_CONFIGURATIONS,
    subresources=(STATUS,),
)
