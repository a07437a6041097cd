"""Service."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource, Subresource

SERVICE = Resource(
    gvr.SERVICES,
    short_names=("svc",),
    categories=("all",),
    subresources=(
        Subresource("proxy", ("create", "delete", "get", "patch", "update"), kind="ServiceProxyOptions", version="v1"),
        STATUS,
    ),
    name_rule="dns-label",
    has_generation=False,
)
