"""Lease."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, text
from pilothouse.api.resource import Resource
from pilothouse.api.validate.lease import validate_lease

LEASE = Resource(
    gvr.LEASES,
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, text("Holder", "spec", "holderIdentity"), AGE),
    create_on_update=True,
    validate=validate_lease,
)
