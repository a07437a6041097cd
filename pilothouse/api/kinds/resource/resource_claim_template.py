"""ResourceClaimTemplate."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.resource import Resource

RESOURCE_CLAIM_TEMPLATE = Resource(
    gvr.RESOURCE_CLAIM_TEMPLATES,
    has_generation=False,
    columns=(NAME, AGE),
    returns_deleted=True,
)
