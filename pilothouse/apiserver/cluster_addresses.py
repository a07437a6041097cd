"""Cluster addresses of Services.

An address is taken by creating its IPAddress object, which can be done once only, whoever else does it at the same moment.
Source: `pkg/registry/core/service/ipallocator`, KEP-1880.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pilothouse.api.kinds.networking.ip_address import IP_ADDRESS
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.status import AlreadyExists, NotFound
from pilothouse.api.user import User
from pilothouse.apiserver.bands import candidates, static_band
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.write import Write

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SERVER = User("system:apiserver", groups=("system:masters",))


class Addresses:
    """The addresses of one or two ranges, one for each family."""

    def __init__(
        self, ranges: Sequence[Network], registry_of: Callable[[Resource], Awaitable[Registry]], rng: random.Random
    ) -> None:
        self.ranges: Mapping[str, Network] = {f"IPv{network.version}": network for network in ranges}
        self.default_family = f"IPv{ranges[0].version}"
        self._registry_of = registry_of
        self._rng = rng

    async def take(self, address: str, service: Mapping[str, Any]) -> None:
        """Raises ValueError, with upstream's message, if the address is out of range or taken."""
        self.check_range(address)
        try:
            await self._create(str(ipaddress.ip_address(address)), service)
        except AlreadyExists:
            raise ValueError("provided IP is already allocated") from None

    def check_range(self, address: str) -> None:
        """Raises ValueError, with upstream's message, if the address is out of range."""
        parsed = ipaddress.ip_address(address)
        network = self.ranges[f"IPv{parsed.version}"]
        first, last = _usable(network)
        if not first <= int(parsed) <= last:
            raise ValueError(
                f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
            )

    async def take_any(self, family: str, service: Mapping[str, Any]) -> str:
        """A free address, from the upper band while it has one. Raises ValueError if the range is full."""
        network = self.ranges[family]
        first, last = _usable(network)
        addresses = range(first, last + 1)
        cacher = (await self._registry_of(IP_ADDRESS)).cacher
        make = type(network.network_address)
        for candidate in candidates(addresses, static_band(last - first + 1, 16, 256), self._rng):
            address = str(make(candidate))
            if cacher.get("", address) is not None:
                continue
            try:
                await self._create(address, service)
            except AlreadyExists:
                continue
            return address
        raise ValueError("range is full")

    async def release(self, address: str) -> None:
        registry = await self._registry_of(IP_ADDRESS)
        try:
            await registry.delete(Write(_SERVER, name=address), DeleteOptions(grace_period_s=0))
        except NotFound:
            return

    async def _create(self, address: str, service: Mapping[str, Any]) -> None:
        metadata = service["metadata"]
        family = f"IPv{ipaddress.ip_address(address).version}"
        obj: Object = {
            "kind": "IPAddress",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {
                "name": address,
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": family,
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {
                "parentRef": {"resource": "services", "namespace": metadata["namespace"], "name": metadata["name"]}
            },
        }
        await (await self._registry_of(IP_ADDRESS)).create(obj, Write(_SERVER, name=address, track=own(IP_ADDRESS.gvr)))


def _usable(network: Network) -> tuple[int, int]:
    """The first and last address, as integers, without the network's own and, for IPv4, the broadcast address."""
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    return first, min(last, first + (1 << 64) - 2)
