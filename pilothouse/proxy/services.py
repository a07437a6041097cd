"""What the proxy knows of a Service and its endpoints, in one address family. Pure reading of objects."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pilothouse.api.views import endpoint_slice
from pilothouse.api.views.endpoint_slice import EndpointSliceView
from pilothouse.api.views.service import ServiceView


class Family(Enum):
    """An address family, by nft's name for it."""

    V4 = "ip"
    V6 = "ip6"

    @property
    def api_name(self) -> str:
        """`IPv4` or `IPv6`."""
        return "IPv4" if self is Family.V4 else "IPv6"

    @property
    def nft_type(self) -> str:
        return "ipv4_addr" if self is Family.V4 else "ipv6_addr"

    def holds(self, address: str) -> bool:
        """For an address or a range."""
        return (":" in address) == (self is Family.V6)

    def is_address(self, text: str) -> bool:
        """Whether the text is an address of the family and nothing else: it may become part of an nft command."""
        try:
            socket.inet_pton(socket.AF_INET if self is Family.V4 else socket.AF_INET6, text)
        except (OSError, ValueError):
            return False
        return True


def families_of(cidrs: Iterable[str]) -> tuple[Family, ...]:
    """The families of the given ranges, IPv4 first."""
    known = {Family.V6 if ":" in cidr else Family.V4 for cidr in cidrs}
    return tuple(family for family in Family if family in known)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service. Addresses are of one family; `affinity_s` is None without session affinity."""

    namespace: str
    service: str
    name: str
    protocol: str
    port: int
    cluster_ip: str
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    is_internal_local: bool = False
    is_external_local: bool = False
    affinity_s: int | None = None

    @property
    def is_external(self) -> bool:
        """Whether it can be reached by anything but the ClusterIP."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Also with the external policy Local, as traffic from pods and from the node itself is not subject to it."""
        return not self.is_internal_local or self.is_external

    @property
    def uses_local_endpoints(self) -> bool:
        return self.is_internal_local or (self.is_external_local and self.is_external)

    @property
    def label(self) -> str:
        """`namespace/service/protocol/port name`: unique, and fit for a name in nft."""
        return f"{self.namespace}/{self.service}/{self.protocol}/{self.name}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port behind a ServicePort."""

    ip: str
    port: int
    is_local: bool = False
    is_ready: bool = True
    is_serving: bool = True
    is_terminating: bool = False
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()


def is_proxied(service: ServiceView) -> bool:
    return service.type != "ExternalName" and bool(service.cluster_ips)


def service_ports(service: ServiceView, family: Family) -> tuple[ServicePort, ...]:
    """The Service's ports in a family; none if it has no ClusterIP there."""
    cluster_ip = next(filter(family.is_address, service.cluster_ips), None)
    if not is_proxied(service) or cluster_ip is None:
        return ()
    return tuple(
        ServicePort(
            namespace=service.namespace,
            service=service.name,
            name=port.get("name", ""),
            protocol=port.get("protocol", "TCP").lower(),
            port=port["port"],
            cluster_ip=cluster_ip,
            node_port=port.get("nodePort", 0) if service.type in ("NodePort", "LoadBalancer") else 0,
            external_ips=_of_family(service.external_ips, family),
            load_balancer_ips=_of_family(service.load_balancer_ips, family),
            source_ranges=_ranges(service.load_balancer_source_ranges, family),
            is_internal_local=service.is_internal_local,
            is_external_local=service.is_external_local,
            affinity_s=service.affinity_timeout_s,
        )
        for port in service.ports
    )


def endpoints_of(
    slices: Iterable[EndpointSliceView], port: ServicePort, family: Family, node_name: str
) -> tuple[Endpoint, ...]:
    """The endpoints of a port over all the Service's slices, ordered and without duplicates.

    While a pod moves from slice to slice it can be in two; the entry that is ready counts.
    """
    found: dict[tuple[str, int], Endpoint] = {}
    for one in slices:
        if one.address_type != family.api_name:
            continue
        number = _port_number(one.ports, port)
        if number is None:
            continue
        for entry in one.endpoints:
            endpoint = _endpoint(entry, number, node_name)
            if endpoint is None or not family.is_address(endpoint.ip):
                continue
            known = found.get((endpoint.ip, number))
            if known is None or (endpoint.is_ready and not known.is_ready):
                found[endpoint.ip, number] = endpoint
    return tuple(found[key] for key in sorted(found))


def _endpoint(entry: Mapping[str, Any], port: int, node_name: str) -> Endpoint | None:
    addresses = entry.get("addresses") or ()
    if not addresses:
        return None
    hints = entry.get("hints") or {}
    return Endpoint(
        ip=addresses[0],
        port=port,
        is_local=entry.get("nodeName") == node_name,
        is_ready=endpoint_slice.is_ready(entry),
        is_serving=endpoint_slice.is_serving(entry),
        is_terminating=endpoint_slice.is_terminating(entry),
        zone_hints=frozenset(hint["name"] for hint in hints.get("forZones") or ()),
        node_hints=frozenset(hint["name"] for hint in hints.get("forNodes") or ()),
    )


def _port_number(ports: Sequence[Mapping[str, Any]], wanted: ServicePort) -> int | None:
    for port in ports:
        if (port.get("name") or "") == wanted.name and (port.get("protocol") or "TCP").lower() == wanted.protocol:
            number = port.get("port")
            return int(number) if number else None
    return None


def _of_family(addresses: Iterable[str], family: Family) -> tuple[str, ...]:
    """Sorted, without duplicates."""
    return tuple(sorted(set(filter(family.is_address, addresses))))


def _ranges(cidrs: Iterable[str], family: Family) -> tuple[str, ...]:
    """The source ranges, or nothing if they allow everyone."""
    networks = [network for cidr in cidrs if family.holds(cidr) and (network := _network(cidr)) is not None]
    if any(network.prefixlen == 0 for network in networks):
        return ()
    return tuple(str(network) for network in ipaddress.collapse_addresses(networks))  # type: ignore[type-var]


def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None
