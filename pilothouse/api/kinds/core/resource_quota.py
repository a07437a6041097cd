"""ResourceQuota."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

RESOURCE_QUOTA = Resource(
    gvr.RESOURCE_QUOTAS,
    short_names=("quota",),
    subresources=(STATUS,),
    has_generation=False,
)
