"""Namespace."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource, Subresource

NAMESPACE = Resource(
    gvr.NAMESPACES,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(
        Subresource("finalize", ("update",)),
        STATUS,
    ),
    name_rule="dns-label",
    has_generation=False,
)
