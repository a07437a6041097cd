"""Node."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource, Subresource

NODE = Resource(
    gvr.NODES,
    short_names=("no",),
    subresources=(
        Subresource("proxy", ("create", "delete", "get", "patch", "update"), kind="NodeProxyOptions", version="v1"),
        STATUS,
    ),
    has_generation=False,
)
