"""ResourceClaim."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

RESOURCE_CLAIM = Resource(
    gvr.RESOURCE_CLAIMS,
    subresources=(STATUS,),
    has_generation=False,
)
