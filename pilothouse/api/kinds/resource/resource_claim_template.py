"""ResourceClaimTemplate."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

RESOURCE_CLAIM_TEMPLATE = Resource(
    gvr.RESOURCE_CLAIM_TEMPLATES,
    metadata_checks=MetadataChecks.BOTH,
    has_generation=False,
    columns=(NAME, AGE),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.device_claim", "validate_template"),
    validate_update=Deferred("pilothouse.api.validate.device_claim", "validate_template_update"),
)
