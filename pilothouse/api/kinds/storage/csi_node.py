"""CSINode."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, count
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

CSI_NODE = Resource(
    gvr.CSI_NODES,
    metadata_checks=MetadataChecks.AS_NEW,
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, count("Drivers", "spec", "drivers"), AGE),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.csi", "validate_node"),
    validate_update=Deferred("pilothouse.api.validate.csi", "validate_node_update"),
)
