"""Lease."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, text
from pilothouse.api.resource import Resource
from pilothouse.kit.deferred import Deferred

LEASE = Resource(
    gvr.LEASES,
    knows_finalizers=False,
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, text("Holder", "spec", "holderIdentity"), AGE),
    create_on_update=True,
    validate=Deferred("pilothouse.api.validate.lease", "validate_lease"),
)
