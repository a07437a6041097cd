"""RoleBinding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, role_of, subject_columns
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

ROLE_BINDING = Resource(
    gvr.ROLE_BINDINGS,
    metadata_checks=MetadataChecks.BOTH,
    name_rule="path-segment",
    has_generation=False,
    columns=(NAME, Column("Role", role_of), AGE, *subject_columns()),
    create_on_update=True,
    validate=Deferred("pilothouse.api.validate.rbac", "validate_role_binding"),
    validate_update=Deferred("pilothouse.api.validate.rbac", "validate_binding_update"),
)
