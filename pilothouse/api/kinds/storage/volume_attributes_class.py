"""VolumeAttributesClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, text
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

VOLUME_ATTRIBUTES_CLASS = Resource(
    gvr.VOLUME_ATTRIBUTES_CLASSES,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("vac",),
    has_generation=False,
    columns=(NAME, text("DriverName", "driverName"), AGE),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.csi", "validate_attributes_class"),
    validate_update=Deferred("pilothouse.api.validate.csi", "validate_attributes_class_update"),
)
