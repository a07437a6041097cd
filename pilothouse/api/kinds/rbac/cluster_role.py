"""ClusterRole."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import CREATED_AT, NAME
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

CLUSTER_ROLE = Resource(
    gvr.CLUSTER_ROLES,
    metadata_checks=MetadataChecks.BOTH,
    name_rule="path-segment",
    has_generation=False,
    columns=(NAME, CREATED_AT),
    create_on_update=True,
    validate=Deferred("pilothouse.api.validate.rbac", "validate_cluster_role"),
)
