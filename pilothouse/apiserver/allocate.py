"""Cluster addresses and node ports of Services.

An address is taken by creating its IPAddress object, a node port by creating its key in the store: both can be done once only,
whoever else does it at the same moment. What a failed write took is given back; what a crash left behind `service_repair` gives back.
Source: `pkg/registry/core/service/storage/alloc.go`, `ipallocator`, `portallocator`, KEP-1880, KEP-3070 (static bands).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.kinds.core.service import needs_cluster_ip, needs_health_check_port, needs_node_port
from pilothouse.api.kinds.networking.ip_address import IP_ADDRESS
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, invalid, invalid_object
from pilothouse.api.resource import Resource
from pilothouse.api.status import AlreadyExists, NotFound
from pilothouse.api.user import User
from pilothouse.apiserver.dry_allocation import DryAddresses, DryNodePorts
from pilothouse.apiserver.errors import internal
from pilothouse.apiserver.lifecycle import Undo
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.service_families import fill_families, normalize_cluster_ips
from pilothouse.apiserver.write import Write
from pilothouse.store.base import ABSENT, Revision, Store, WriteConflict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NODE_PORTS_PREFIX = "/registry/ranges/nodeports/"
DEFAULT_NODE_PORTS = range(30000, 32768)
_SERVER = User("system:apiserver", groups=("system:masters",))
_SPEC = Path("spec")


class Taken:
    """What one write of a Service took, and what it no longer needs."""

    def __init__(self, addresses: Addresses | DryAddresses, ports: NodePorts | DryNodePorts) -> None:
        self.addresses = addresses
        self.ports = ports
        self.new_addresses: list[str] = []
        self.new_ports: list[int] = []
        self.old_addresses: list[str] = []
        self.old_ports: list[int] = []

    async def commit(self) -> None:
        await self._release(self.old_addresses, self.old_ports)

    async def roll_back(self) -> None:
        await self._release(self.new_addresses, self.new_ports)

    async def _release(self, addresses: Iterable[str], ports: Iterable[int]) -> None:
        for address in addresses:
            await self.addresses.release(address)
        for port in ports:
            await self.ports.release(port)


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
        offset = _static_band(last - first + 1)
        cacher = (await self._registry_of(IP_ADDRESS)).cacher
        make = type(network.network_address)
        for low, high in ((first + offset, last), (first, first + offset - 1)):
            if low > high:
                continue
            start = self._rng.randint(low, high)
            for candidate in _from(start, low, high):
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
        await (await self._registry_of(IP_ADDRESS)).create(obj, Write(_SERVER, name=address))


class NodePorts:
    """The ports of one range, each a key in the store while it is taken."""

    def __init__(self, ports: range, store: Store, rng: random.Random) -> None:
        self.ports = ports
        self._store = store
        self._rng = rng

    async def take(self, port: int, owner: str) -> None:
        """Raises ValueError, with upstream's message, if the port is out of range or taken."""
        if port not in self.ports:
            raise ValueError(
                f"provided port is not in the valid range. The range of valid ports is {self.ports[0]}-{self.ports[-1]}"
            )
        try:
            await self._store.put(f"{NODE_PORTS_PREFIX}{port}", owner.encode(), expect=ABSENT)
        except WriteConflict:
            raise ValueError("provided port is already allocated") from None

    async def take_any(self, owner: str) -> int:
        """A free port, from the upper band while it has one. Raises ValueError if the range is full."""
        band = min(max(16, len(self.ports) // 32), 128) if len(self.ports) > 16 else 0
        for part in (self.ports[band:], self.ports[:band]):
            if not part:
                continue
            for port in _from(self._rng.choice(part), part[0], part[-1]):
                try:
                    await self.take(port, owner)
                except ValueError:
                    continue
                return port
        raise ValueError("range is full")

    async def release(self, port: int) -> None:
        try:
            await self._store.delete(f"{NODE_PORTS_PREFIX}{port}")
        except WriteConflict:
            return

    async def revisions(self) -> Mapping[int, Revision]:
        """Every taken port with the revision at which it was taken."""
        page = await self._store.list(NODE_PORTS_PREFIX)
        return {int(entry.key.removeprefix(NODE_PORTS_PREFIX)): entry.mod_revision for entry in page.entries}

    async def taken(self) -> Mapping[int, str]:
        """Every taken port with the `namespace/name` of the Service that took it."""
        page = await self._store.list(NODE_PORTS_PREFIX)
        return {int(entry.key.removeprefix(NODE_PORTS_PREFIX)): entry.value.decode() for entry in page.entries}


class ServiceLifecycle:
    """Gives Services what they need when they are written. See `registry.Lifecycle`."""

    def __init__(self, addresses: Addresses, ports: NodePorts) -> None:
        self.addresses = addresses
        self.ports = ports

    async def creating(self, draft: Object, *, dry_run: bool) -> Undo | None:
        """Raises Invalid, InternalError."""
        return await self._allocate(draft, {"spec": {}}, dry_run)

    async def updating(self, draft: Object, old: Mapping[str, Any], *, dry_run: bool) -> Undo | None:
        if draft.get("spec") == old.get("spec"):
            return None
        return await self._allocate(draft, old, dry_run)

    async def deleted(self, old: Mapping[str, Any]) -> None:
        for address in addresses_of(old):
            await self.addresses.release(address)
        for port in ports_of(old):
            await self.ports.release(port)

    async def _allocate(self, draft: Object, old: Mapping[str, Any], dry_run: bool) -> Undo | None:
        taken = (
            Taken(DryAddresses(self.addresses), DryNodePorts(self.ports))
            if dry_run
            else Taken(self.addresses, self.ports)
        )
        spec = draft.setdefault("spec", {})
        try:
            normalize_cluster_ips(spec, old["spec"])
            if needs_cluster_ip(spec):
                fill_families(draft, old, tuple(self.addresses.ranges), self.addresses.default_family)
                await self._take_addresses(draft, old, taken)
            await self._take_ports(draft, old, taken)
        except BaseException:
            await taken.roll_back()
            raise
        if dry_run:
            return None
        taken.old_addresses = [each for each in addresses_of(old) if each not in addresses_of(draft)]
        taken.old_ports = [each for each in ports_of(old) if each not in ports_of(draft)]
        return taken

    async def _take_addresses(self, draft: Object, old: Mapping[str, Any], taken: Taken) -> None:
        spec = draft["spec"]
        wanted: list[str] = list(spec.get("clusterIPs") or ())
        if wanted[:1] == ["None"]:
            spec["clusterIP"] = "None"
            return
        before = addresses_of(old)
        for position, family in enumerate(spec["ipFamilies"]):
            if position >= len(wanted) or not wanted[position]:
                try:
                    address = await taken.addresses.take_any(family, draft)
                except ValueError as error:
                    raise internal(f"failed to allocate a serviceIP: {error}") from None
                wanted[position:] = [address]
                taken.new_addresses.append(address)
            elif wanted[position] not in before:
                address = wanted[position]
                try:
                    await taken.addresses.take(address, draft)
                except ValueError as error:
                    why = f"failed to allocate IP {address}: {error}"
                    raise _refused(draft, invalid(_SPEC.child("clusterIPs"), wanted, why)) from None
                taken.new_addresses.append(address)
        spec["clusterIPs"] = wanted
        spec["clusterIP"] = wanted[0]

    async def _take_ports(self, draft: Object, old: Mapping[str, Any], taken: Taken) -> None:
        spec = draft["spec"]
        owner = key_of(draft)
        before = ports_of(old)
        if needs_node_port(spec):
            automatic = spec.get("type") == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
            # Ports of one number in several protocols share one node port.
            shared: dict[int, int] = {}
            for port in spec.get("ports") or ():
                if port.get("nodePort"):
                    shared.setdefault(port["port"], port["nodePort"])
            for position, port in enumerate(spec.get("ports") or ()):
                wanted = port.get("nodePort") or (shared.get(port["port"]) if automatic else None)
                if wanted:
                    port["nodePort"] = wanted
                    if wanted not in before and wanted not in taken.new_ports:
                        path = _SPEC.child("ports").index(position).child("nodePort")
                        await self._take_port(draft, path, wanted, owner, taken)
                elif automatic:
                    port["nodePort"] = shared[port["port"]] = await self._take_any_port("nodePort", owner, taken)
        if needs_health_check_port(spec):
            wanted = spec.get("healthCheckNodePort")
            if not wanted:
                spec["healthCheckNodePort"] = await self._take_any_port("HealthCheck NodePort", owner, taken)
            elif wanted not in before:
                try:
                    await taken.ports.take(wanted, owner)
                except ValueError as error:
                    why = f"failed to allocate requested HealthCheck NodePort {wanted}: {error}"
                    raise internal(why) from None
                taken.new_ports.append(wanted)

    async def _take_port(self, draft: Object, path: Path, port: int, owner: str, taken: Taken) -> None:
        try:
            await taken.ports.take(port, owner)
        except ValueError as error:
            raise _refused(draft, invalid(path, port, str(error))) from None
        taken.new_ports.append(port)

    async def _take_any_port(self, what: str, owner: str, taken: Taken) -> int:
        try:
            port = await taken.ports.take_any(owner)
        except ValueError as error:
            raise internal(f"failed to allocate a {what}: {error}") from None
        taken.new_ports.append(port)
        return port


def _refused(draft: Mapping[str, Any], fault: FieldError) -> Exception:
    return invalid_object("", "Service", draft["metadata"].get("name", ""), [fault])


def addresses_of(service: Mapping[str, Any]) -> list[str]:
    spec = service.get("spec") or {}
    if not spec or not needs_cluster_ip(spec):
        return []
    return [address for address in spec.get("clusterIPs") or () if address and address != "None"]


def ports_of(service: Mapping[str, Any]) -> set[int]:
    spec = service.get("spec") or {}
    ports = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    if spec.get("healthCheckNodePort"):
        ports.add(spec["healthCheckNodePort"])
    return ports


def key_of(service: Mapping[str, Any]) -> str:
    return f"{service['metadata'].get('namespace', '')}/{service['metadata']['name']}"


def _usable(network: Network) -> tuple[int, int]:
    """The first and last address, as integers, without the network's own and, for IPv4, the broadcast address."""
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    return first, min(last, first + (1 << 64) - 2)


def _static_band(size: int) -> int:
    """How many addresses at the low end are left to those who choose their own."""
    return 0 if size <= 16 else min(max(16, size // 16), 256)


def _from(start: int, low: int, high: int) -> Iterable[int]:
    """All of `low` to `high`, beginning at `start`."""
    yield from range(start, high + 1)
    yield from range(low, start)
