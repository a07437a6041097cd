"""ServiceCIDR."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, Resource
from pilothouse.kit.deferred import Deferred

SERVICE_CIDR = Resource(
    gvr.SERVICE_CIDRS,
    subresources=(STATUS,),
    has_generation=False,
    columns=(NAME, Column("CIDRs", lambda obj, now: ",".join(at(obj, "spec", "cidrs") or ())), AGE),
    prepare_create=clears_status(gvr.SERVICE_CIDRS),
    ratchets=True,
    validate=Deferred("pilothouse.api.validate.cluster_address", "validate_service_cidr"),
    validate_update=Deferred("pilothouse.api.validate.cluster_address", "validate_service_cidr_update"),
)
