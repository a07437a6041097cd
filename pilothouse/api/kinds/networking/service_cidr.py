"""ServiceCIDR."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

SERVICE_CIDR = Resource(
    gvr.SERVICE_CIDRS,
    subresources=(STATUS,),
    has_generation=False,
)
