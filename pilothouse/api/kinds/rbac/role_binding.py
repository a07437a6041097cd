"""RoleBinding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

ROLE_BINDING = Resource(
    gvr.ROLE_BINDINGS,
    name_rule="path-segment",
    has_generation=False,
)
