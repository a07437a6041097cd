"""Which code serves which subresource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from pilothouse.api.resource import Resource
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.subresources import namespaces, pods, scale, signing_requests
from pilothouse.apiserver.subresources.eviction import Eviction
from pilothouse.apiserver.subresources.pods import PodBinding
from pilothouse.kit.http.message import Response

Subhandler = Callable[[Call, Endpoint, float], Awaitable[Response]]
"""Serves a subresource that is part of an object; the last argument is the time now."""


def subhandlers(
    registry_of: Callable[[Resource], Awaitable[Registry]],
) -> Mapping[tuple[str, str, str], Subhandler]:
    """By group, plural (`*` for any kind) and subresource."""
    binding = PodBinding(registry_of)
    return {
        ("", "bindings", ""): binding.serve,
        ("", "*", "scale"): scale.serve,
        ("", "namespaces", "finalize"): namespaces.finalize,
        ("", "pods", "binding"): binding.serve,
        ("", "pods", "ephemeralcontainers"): pods.ephemeral_containers,
        ("", "pods", "eviction"): Eviction(registry_of).serve,
        ("", "pods", "resize"): pods.resize,
        ("certificates.k8s.io", "certificatesigningrequests", "approval"): signing_requests.approval,
    }
