"""ClusterRoleBinding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

CLUSTER_ROLE_BINDING = Resource(
    gvr.CLUSTER_ROLE_BINDINGS,
    name_rule="path-segment",
    has_generation=False,
)
