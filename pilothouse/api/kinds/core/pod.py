"""Pod."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource, Subresource

POD = Resource(
    gvr.PODS,
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource("attach", ("create", "get"), kind="PodAttachOptions", version="v1"),
        Subresource("binding", ("create",), kind="Binding", version="v1"),
        Subresource("ephemeralcontainers"),
        Subresource("eviction", ("create",), kind="Eviction", group="policy", version="v1"),
        Subresource("exec", ("create", "get"), kind="PodExecOptions", version="v1"),
        Subresource("log", ("get",)),
        Subresource("portforward", ("create", "get"), kind="PodPortForwardOptions", version="v1"),
        Subresource("proxy", ("create", "delete", "get", "patch", "update"), kind="PodProxyOptions", version="v1"),
        Subresource("resize"),
        STATUS,
    ),
)
