"""RuntimeClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, text
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

RUNTIME_CLASS = Resource(
    gvr.RUNTIME_CLASSES,
    metadata_checks=MetadataChecks.BOTH,
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, text("Handler", "handler"), AGE),
    create_on_update=True,
    validate=Deferred("pilothouse.api.validate.policy", "validate_runtime_class"),
    validate_update=Deferred("pilothouse.api.validate.policy", "validate_runtime_class_update"),
)
