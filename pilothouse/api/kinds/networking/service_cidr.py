"""ServiceCIDR."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, Resource

SERVICE_CIDR = Resource(
    gvr.SERVICE_CIDRS,
    subresources=(STATUS,),
    has_generation=False,
    columns=(NAME, Column("CIDRs", lambda obj, now: ",".join(at(obj, "spec", "cidrs") or ())), AGE),
    prepare_create=clears_status(gvr.SERVICE_CIDRS),
)
