"""Role."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import CREATED_AT, NAME
from pilothouse.api.resource import Resource
from pilothouse.api.validate.rbac import validate_role

ROLE = Resource(
    gvr.ROLES,
    name_rule="path-segment",
    has_generation=False,
    columns=(NAME, CREATED_AT),
    create_on_update=True,
    validate=validate_role,
)
