"""Typed reading of EndpointSlices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.view import View

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"


class EndpointSliceView(View):
    """An EndpointSlice."""

    __slots__ = ()

    @property
    def service_name(self) -> str:
        """The Service that the slice belongs to, in its own namespace; empty if it belongs to none."""
        return self.labels.get(SERVICE_NAME_LABEL, "")

    @property
    def service_key(self) -> str:
        return f"{self.namespace}/{self.service_name}"

    @property
    def address_type(self) -> str:
        """`IPv4`, `IPv6` or `FQDN`."""
        return str(self.obj.get("addressType", ""))

    @property
    def endpoints(self) -> Sequence[Mapping[str, Any]]:
        return self.obj.get("endpoints") or ()

    @property
    def ports(self) -> Sequence[Mapping[str, Any]]:
        return self.obj.get("ports") or ()


def is_ready(endpoint: Mapping[str, Any]) -> bool:
    """Whether it takes new connections; an unknown condition counts as true."""
    return (endpoint.get("conditions") or {}).get("ready") is not False


def is_serving(endpoint: Mapping[str, Any]) -> bool:
    """Like ready, but regardless of whether it terminates; an unknown condition counts as true."""
    return (endpoint.get("conditions") or {}).get("serving") is not False


def is_terminating(endpoint: Mapping[str, Any]) -> bool:
    return bool((endpoint.get("conditions") or {}).get("terminating"))
