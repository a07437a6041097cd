"""Where a node's kubelet is and how to speak to it. Source: `pkg/kubelet/client/kubelet_client.go`."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.http.tls import unverified_client_context
from pilothouse.kit.http.tunnel import Target

DEFAULT_PORT = 10250
ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")


@dataclass(frozen=True)
class KubeletTls:
    """How the API server proves itself to kubelets, and by which authority it knows them. Files are read at the first use."""

    authority: Path | None
    """None trusts any kubelet, as upstream does without `--kubelet-certificate-authority`."""
    certificate: Path
    key: Path

    @cached_property
    def context(self) -> ssl.SSLContext:
        if self.authority is None:
            return self.unverified
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.certificate, self.key)
        return context

    @cached_property
    def unverified(self) -> ssl.SSLContext:
        """For those who ask not to look at who the kubelet is (`insecureSkipTLSVerifyBackend`)."""
        context = unverified_client_context()
        context.load_cert_chain(self.certificate, self.key)
        return context


class Kubelets:
    """Finds the kubelets of nodes. `tls` is None for kubelets that speak plain HTTP."""

    def __init__(self, objects: Objects, tls: KubeletTls | None) -> None:
        self._objects = objects
        self._tls = tls

    async def target(self, node_name: str, path: str, query: str = "", *, verify: bool = True) -> Target:
        """Where a request for the kubelet of a node goes. Raises NotFound, ServiceUnavailable."""
        host, port = await self.address(node_name)
        context = None if self._tls is None else self._tls.context if verify else self._tls.unverified
        return Target(host, port, path, query, context)

    async def address(self, node_name: str) -> tuple[str, int]:
        """The host and port of a node's kubelet. Raises NotFound, InternalError for a node without an address."""
        node = await self._objects.get(kinds.NODES, "", node_name)
        if node is None:
            raise status.not_found("nodes", "", node_name)
        return address_of(node)


def address_of(node: Mapping[str, Any]) -> tuple[str, int]:
    """The host and port of the kubelet as a Node's status tells them. Raises InternalError."""
    node_status = node.get("status") or {}
    addresses = node_status.get("addresses") or ()
    port = ((node_status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or DEFAULT_PORT
    for wanted in ADDRESS_TYPES:
        for address in addresses:
            if address.get("type") == wanted and address.get("address"):
                return address["address"], port
    listed = ", ".join(str(address.get("type")) for address in addresses)
    raise status.InternalError(f"no preferred addresses found; known addresses: [{listed}]")
