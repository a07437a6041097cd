"""ConfigMap."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _count(obj: View, now: float) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


CONFIG_MAP = Resource(
    gvr.CONFIG_MAPS,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("cm",),
    has_generation=False,
    columns=(NAME, Column("Data", _count), AGE),
    validate=Deferred("pilothouse.api.validate.config", "validate_config_map"),
    validate_update=Deferred("pilothouse.api.validate.config", "validate_config_map_update"),
)
