"""What a dry run of writing a Service is shown in place of addresses and ports: nothing is taken, nothing given back.

Source: `ipallocator.go` (`DryRun`), `portallocator/operation.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.apiserver.cluster_addresses import Addresses
from pilothouse.apiserver.node_ports import NodePorts

_FIRST_SHOWN = 32769
"""The port that stands for one that would be allocated; those after it stand for further ones."""


class DryAddresses:
    """Addresses that are checked for their range only; the network's own address stands for any that would be allocated."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def take(self, address: str, service: Mapping[str, Any]) -> None:
        """Raises ValueError, with upstream's message, if the address is out of range."""
        self._addresses.check_range(address)

    async def take_any(self, family: str, service: Mapping[str, Any]) -> str:
        return str(self._addresses.ranges[family].network_address)

    async def release(self, address: str) -> None:
        return None


class DryNodePorts:
    """Ports of one dry run, which are not taken twice."""

    def __init__(self, ports: NodePorts) -> None:
        self._ports = ports
        self._shown: list[int] = []

    async def take(self, port: int, owner: str) -> None:
        """Raises ValueError, with upstream's message, if the port is taken."""
        if port in self._shown or port in await self._ports.taken():
            raise ValueError("provided port is already allocated")
        self._shown.append(port)

    async def take_any(self, owner: str) -> int:
        port = max(self._shown, default=_FIRST_SHOWN - 1) + 1
        self._shown.append(port)
        return port

    async def release(self, port: int) -> None:
        return None
