"""LimitRange."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import CREATED_AT, NAME
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

LIMIT_RANGE = Resource(
    gvr.LIMIT_RANGES,
    metadata_checks=MetadataChecks.AS_NEW,
    short_names=("limits",),
    has_generation=False,
    columns=(NAME, CREATED_AT),
    invents_name=True,
    create_on_update=True,
    validate=Deferred("pilothouse.api.validate.policy", "validate_limit_range"),
)
