"""CSIStorageCapacity."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import CREATED_AT, NAME
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

CSI_STORAGE_CAPACITY = Resource(
    gvr.CSI_STORAGE_CAPACITIES,
    metadata_checks=MetadataChecks.BOTH,
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, CREATED_AT),
    validate=Deferred("pilothouse.api.validate.csi", "validate_capacity"),
    validate_update=Deferred("pilothouse.api.validate.csi", "validate_capacity_update"),
)
