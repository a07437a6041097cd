"""What a Service takes when it is written: cluster addresses and node ports.

Both can be taken once only, whoever else does it at the same moment. What a failed write took is given back; what a crash left behind
`service_repair` gives back. Source: `pkg/registry/core/service/storage/alloc.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pilothouse.api.kinds.core.service import needs_cluster_ip, needs_health_check_port, needs_node_port
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, invalid, invalid_object
from pilothouse.apiserver.cluster_addresses import Addresses
from pilothouse.apiserver.dry_allocation import DryAddresses, DryNodePorts
from pilothouse.apiserver.errors import internal
from pilothouse.apiserver.lifecycle import Undo
from pilothouse.apiserver.node_ports import NodePorts
from pilothouse.apiserver.service_families import fill_families, normalize_cluster_ips

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
