"""DeviceClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

DEVICE_CLASS = Resource(
    gvr.DEVICE_CLASSES,
    metadata_checks=MetadataChecks.BOTH,
    name_rule="long-name",
    checks_base_name=False,
    columns=(NAME, AGE),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.device_claim", "validate_class"),
)
