"""From Services and endpoints to what nft must hold. Pure: a value in, a value out.

`reach_of` chooses the endpoints that traffic may go to (readiness, traffic policy, topology hints: KEP-1669, KEP-2086, KEP-4444);
`rules_of` says it in chains, sets and elements of the tables that `backends.nftables` lays out. All of a Service's rules depend on
that Service and its slices alone, so that a change costs what the Service costs.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.proxy.services import Endpoint, Family, ServicePort

MASQUERADE_MARK = "0x4000"
MASQUERADE = f"mark set mark or {MASQUERADE_MARK}"

_MAX_NAME = 200
_UNFIT = re.compile(r"[^A-Za-z0-9/_.-]")


@dataclass(frozen=True, slots=True)
class Node:
    """The node that the proxy runs on. `cluster_cidrs` are the pods' ranges, of one family; empty if they are not known."""

    name: str
    zone: str = ""
    addresses: tuple[str, ...] = ()
    cluster_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """The endpoints that a port's traffic may go to.

    `cluster` and `local` are those of the two traffic policies, empty where the port does not use the policy. `exists` says whether
    any endpoint in the cluster could take traffic, though none may be reachable from this node.
    """

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    exists: bool = False

    @property
    def everything(self) -> tuple[Endpoint, ...]:
        return tuple(dict.fromkeys((*self.cluster, *self.local)))


@dataclass(frozen=True, slots=True)
class Rules:
    """What nft holds for one Service.

    `chains` are rules by chain; `affinity_sets` are time limits in seconds by set; `elements` are values by (set or map, key), with
    None for an element of a set.
    """

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    affinity_sets: Mapping[str, int] = field(default_factory=dict)
    elements: Mapping[tuple[str, str], str | None] = field(default_factory=dict)


def reach_of(port: ServicePort, endpoints: Sequence[Endpoint], node: Node) -> Reach:
    """Ready endpoints; where a policy finds none, those that terminate and still serve."""
    dying = [endpoint for endpoint in endpoints if endpoint.is_serving and endpoint.is_terminating]
    ready = [endpoint for endpoint in endpoints if endpoint.is_ready]
    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    if port.uses_cluster_endpoints:
        cluster = tuple(_nearest(ready, node) or dying)
    if port.uses_local_endpoints:
        here = [endpoint for endpoint in ready if endpoint.is_local]
        local = tuple(here or [endpoint for endpoint in dying if endpoint.is_local])
    return Reach(cluster, local, exists=bool(ready or dying))


def _nearest(ready: Sequence[Endpoint], node: Node) -> Sequence[Endpoint]:
    """The endpoints hinted for this node, or for its zone; all of them unless every one has a hint and one is for here."""
    if ready and all(endpoint.node_hints for endpoint in ready):
        mine = [endpoint for endpoint in ready if node.name in endpoint.node_hints]
        if mine:
            return mine
    if ready and all(endpoint.zone_hints for endpoint in ready):
        mine = [endpoint for endpoint in ready if node.zone in endpoint.zone_hints]
        if mine:
            return mine
    return ready


def merge(parts: Sequence[Rules]) -> Rules:
    """The rules of several ports as one. Of an element that two have, the first one's value counts."""
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, int] = {}
    elements: dict[tuple[str, str], str | None] = {}
    for part in parts:
        chains.update(part.chains)
        sets.update(part.affinity_sets)
        elements = {**part.elements, **elements}
    return Rules(chains, sets, elements)


def rules_of(port: ServicePort, endpoints: Sequence[Endpoint], node: Node, family: Family) -> Rules:
    """What nft must hold for one port."""
    return _Writer(port, reach_of(port, endpoints, node), node, family).write()


def name_of(kind: str, text: str) -> str:
    """A name for a chain or set: its kind, a hash that makes it unique, and as much of `text` as fits."""
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest())[:8].decode()
    return f"{kind}-{digest}-{_UNFIT.sub('.', text)}"[:_MAX_NAME]


class _Writer:
    """Writes the rules of one port."""

    def __init__(self, port: ServicePort, reach: Reach, node: Node, family: Family) -> None:
        self._port = port
        self._reach = reach
        self._node = node
        self._family = family
        self._chains: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, int] = {}
        self._elements: dict[tuple[str, str], str | None] = {}

    def write(self) -> Rules:
        port, reach = self._port, self._reach
        cluster, local = name_of("cluster", port.label), name_of("local", port.label)
        if reach.cluster:
            self._chains[cluster] = self._balance(reach.cluster)
        if reach.local:
            self._chains[local] = self._balance(reach.local)
        self._elements["cluster-ips", port.cluster_ip] = None
        for endpoint in reach.everything:
            if endpoint.is_local:
                hairpin = f"{endpoint.ip} . {endpoint.ip} . {port.protocol} . {endpoint.port}"
                self._elements["hairpin-connections", hairpin] = None
        internal = (local if reach.local else "") if port.is_internal_local else (cluster if reach.cluster else "")
        self._address(port.cluster_ip, internal, is_answered=bool(internal))
        if port.is_external:
            self._external(cluster, local)
        return Rules(self._chains, self._sets, self._elements)

    def _external(self, cluster: str, local: str) -> None:
        port, reach = self._port, self._reach
        chain = name_of("external", port.label)
        is_answered = bool(reach.local if port.is_external_local else reach.cluster)
        if reach.everything:
            self._chains[chain] = self._external_rules(cluster if reach.cluster else "", local if reach.local else "")
        entry = chain if reach.everything else ""
        for address in dict.fromkeys((*port.external_ips, *port.load_balancer_ips)):
            self._address(address, entry, is_answered=is_answered)
        if port.node_port:
            key = f"{port.protocol} . {port.node_port}"
            if entry:
                self._elements["service-nodeports", key] = f"goto {entry}"
            if not is_answered:
                self._elements["no-endpoint-nodeports", key] = self._refusal
        if port.load_balancer_ips and port.source_ranges:
            self._firewall()

    def _external_rules(self, cluster: str, local: str) -> tuple[str, ...]:
        if not self._port.is_external_local:
            # The endpoint may be on another node, which must send its answer back through this one.
            return (MASQUERADE, *([f"goto {cluster}"] if cluster else []))
        rules = []
        if cluster:
            if self._node.cluster_cidrs:
                pods = ", ".join(self._node.cluster_cidrs)
                rules.append(f"{self._family.value} saddr {{ {pods} }} goto {cluster}")
            rules += [f"fib saddr type local {MASQUERADE}", f"fib saddr type local goto {cluster}"]
        if local:
            rules.append(f"goto {local}")
        return tuple(rules)

    def _firewall(self) -> None:
        port = self._port
        networks = [ipaddress.ip_network(cidr) for cidr in port.source_ranges]
        sources = [*port.source_ranges]
        if any(ipaddress.ip_address(address) in network for network in networks for address in self._node.addresses):
            # The node's own requests to the balancer's address can have that address as their source.
            sources += port.load_balancer_ips
        chain = name_of("firewall", port.label)
        self._chains[chain] = (f"{self._family.value} saddr != {{ {', '.join(sources)} }} drop",)
        for address in port.load_balancer_ips:
            self._elements["firewall-ips", f"{address} . {port.protocol} . {port.port}"] = f"goto {chain}"

    @property
    def _refusal(self) -> str:
        """Endpoints elsewhere that the policy forbids are no reason to say that the port is closed: another node may answer."""
        return "drop" if self._reach.exists else "goto reject-chain"

    def _address(self, address: str, chain: str, *, is_answered: bool) -> None:
        key = f"{address} . {self._port.protocol} . {self._port.port}"
        if chain:
            self._elements["service-ips", key] = f"goto {chain}"
        if not is_answered:
            self._elements["no-endpoint-services", key] = self._refusal

    def _balance(self, endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
        port, family = self._port, self._family.value
        if port.affinity_s is None:
            targets = ", ".join(f"{index} : {each.ip} . {each.port}" for index, each in enumerate(endpoints))
            return (
                f"meta l4proto {port.protocol} dnat {family} addr . port to "
                f"numgen random mod {len(endpoints)} map {{ {targets} }}",
            )
        chains = [self._sticky(endpoint, port.affinity_s) for endpoint in endpoints]
        targets = ", ".join(f"{index} : goto {chain}" for index, (chain, _) in enumerate(chains))
        return (
            *(f"{family} saddr @{clients} goto {chain}" for chain, clients in chains),
            f"numgen random mod {len(chains)} vmap {{ {targets} }}",
        )

    def _sticky(self, endpoint: Endpoint, timeout_s: int) -> tuple[str, str]:
        """The chain that leads to one endpoint and remembers the client, and the set of clients that it remembers."""
        port, family = self._port, self._family.value
        label = f"{port.label}__{endpoint.ip}/{endpoint.port}"
        chain, clients = name_of("endpoint", label), name_of("affinity", f"{timeout_s}/{label}")
        address = f"[{endpoint.ip}]" if self._family is Family.V6 else endpoint.ip
        self._sets[clients] = timeout_s
        self._chains[chain] = (
            f"update @{clients} {{ {family} saddr }}",
            f"meta l4proto {port.protocol} dnat to {address}:{endpoint.port}",
        )
        return chain, clients
