"""ValidatingWebhookConfiguration."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, count
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

VALIDATING_WEBHOOK_CONFIGURATION = Resource(
    gvr.VALIDATING_WEBHOOK_CONFIGURATIONS,
    metadata_checks=MetadataChecks.AS_NEW,
    knows_finalizers=False,
    categories=("api-extensions",),
    unconditional_update=False,
    columns=(NAME, count("Webhooks", "webhooks"), AGE),
    validate=Deferred("pilothouse.api.validate.webhook", "validate_webhooks"),
)
