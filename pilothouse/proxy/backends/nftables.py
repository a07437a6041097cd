"""The proxy's nft table in one address family.

A packet's destination is looked up in a verdict map (`service-ips`, `service-nodeports`) that leads to the Service's own chains, so that
the number of Services costs a packet nothing. A change is one atomic transaction that touches what the changed Services own.
The fixed part, written by `_skeleton`:

    prerouting, output (dstnat - 10)      firewall-ips           source ranges of load balancers
    prerouting, output (dstnat)           service-ips, service-nodeports → chains of the Services
    input, forward, output (filter)       no-endpoint-*          refuse what has no endpoint
                                          cluster-ips            refuse other ports of a ClusterIP
    postrouting (srcnat)                  marked packets and hairpins get the node's address

Chains that nothing uses any more are emptied at once and deleted later: before Linux 6.2 the kernel notices only some time after a map
element is gone that its chain is unreferenced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pilothouse.kit.log import get_logger
from pilothouse.proxy.backends.libnftables import Libnftables, NftError
from pilothouse.proxy.desired import MASQUERADE, MASQUERADE_MARK, Node, Rules
from pilothouse.proxy.services import Family

log = get_logger("pilothouse.proxy.nftables")

_BASE_CHAINS = (
    ("prerouting-firewall", "filter", "prerouting", "dstnat - 10"),
    ("output-firewall", "filter", "output", "-110"),
    ("filter-input", "filter", "input", "filter"),
    ("filter-forward", "filter", "forward", "filter"),
    ("filter-output", "filter", "output", "filter"),
    ("nat-prerouting", "nat", "prerouting", "dstnat"),
    ("nat-output", "nat", "output", "-100"),
    ("nat-postrouting", "nat", "postrouting", "srcnat"),
)
_STALE_S = 2.0

DEFAULT_TABLE = "pilothouse-proxy"
ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")
"""Lets answers to 127.0.0.1 come in from other interfaces, and with them anything else, which the table therefore drops."""


class Nft(Protocol):
    """What runs nft's commands."""

    def run(self, commands: str) -> str: ...

    def list(self, what: str) -> list[dict[str, object]]: ...


@dataclass(frozen=True, slots=True)
class TableOptions:
    """`service_cidrs` and `node_port_addresses` are of one family. Without `node_port_addresses` node ports answer on all local ones.

    `masquerade_pods` is for a kernel whose bridges do not ask netfilter: a pod's answer to a neighbour would not be translated back, unless
    the neighbour's question seems to come from the node.
    """

    name: str = DEFAULT_TABLE
    service_cidrs: tuple[str, ...] = ()
    node_port_addresses: tuple[str, ...] = ()
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    masquerade_pods: bool = False


class NftTable:
    """The table, and what it is known to hold. All calls block; NftError means that nothing was changed."""

    def __init__(self, nft: Nft, family: Family, node: Node, options: TableOptions) -> None:
        self._nft = nft
        self._family = family
        self._node = node
        self._options = options
        self._table = f"{family.value} {options.name}"
        self._rules: dict[str, Rules] = {}
        self._owners: dict[tuple[str, str], dict[str, str | None]] = {}
        self._stale_chains: dict[str, float] = {}
        self._stale_sets: dict[str, float] = {}

    @property
    def stale(self) -> int:
        """How many chains and sets wait to be deleted."""
        return len(self._stale_chains) + len(self._stale_sets)

    def replace(self, rules: Mapping[str, Rules]) -> None:
        """Hold exactly `rules` (by Service), whatever the kernel holds now. Clients with session affinity stay where they are."""
        sticky = self._remembered_clients()
        commands = [f"add table {self._table}", f"delete table {self._table}", *self._skeleton()]
        owners: dict[tuple[str, str], dict[str, str | None]] = {}
        for owner, one in rules.items():
            commands += self._add_chains(one.chains, one.affinity_sets)
            for element, value in one.elements.items():
                owners.setdefault(element, {})[owner] = value
        for one in rules.values():
            commands += self._add_rules(one.chains)
            commands += [
                f"add element {self._table} {name} {{ {address} timeout {timeout_s}s expires {expires_s}s }}"
                for name, timeout_s in one.affinity_sets.items()
                for address, expires_s in sticky.get(name, ())
                if 0 < expires_s <= timeout_s
            ]
        commands += self._add_elements({element: next(iter(values.values())) for element, values in owners.items()})
        self._nft.run("\n".join(commands))
        self._rules, self._owners = dict(rules), owners
        self._stale_chains.clear()
        self._stale_sets.clear()

    def change(self, updates: Mapping[str, Rules], now: float) -> None:
        """Give the Services in `updates` these rules; empty rules remove a Service. Does nothing if nothing differs."""
        added_chains: dict[str, tuple[str, ...]] = {}
        changed_chains: dict[str, tuple[str, ...]] = {}
        added_sets: dict[str, int] = {}
        unused_chains: list[str] = []
        unused_sets: list[str] = []
        touched: dict[tuple[str, str], dict[str, str | None]] = {}
        for owner, new in updates.items():
            old = self._rules.get(owner, Rules())
            for chain, lines in new.chains.items():
                if chain not in old.chains and chain not in self._stale_chains:
                    added_chains[chain] = lines
                elif old.chains.get(chain) != lines:
                    changed_chains[chain] = lines
            for name, timeout_s in new.affinity_sets.items():
                if name not in old.affinity_sets and name not in self._stale_sets:
                    added_sets[name] = timeout_s
            unused_chains += [chain for chain in old.chains if chain not in new.chains]
            unused_sets += [name for name in old.affinity_sets if name not in new.affinity_sets]
            self._touch(touched, owner, old, new)
        removed, added = self._element_changes(touched)
        commands = [
            *self._add_chains(added_chains, added_sets),
            *(f"flush chain {self._table} {chain}" for chain in (*changed_chains, *unused_chains)),
            *self._add_rules(added_chains),
            *self._add_rules(changed_chains),
            *self._delete_elements(removed),
            *self._add_elements(added),
        ]
        if commands:
            self._nft.run("\n".join(commands))
        self._remember(updates, touched)
        self._stale_chains.update(dict.fromkeys(unused_chains, now))
        self._stale_sets.update(dict.fromkeys(unused_sets, now))
        for new in updates.values():
            for chain in new.chains:
                self._stale_chains.pop(chain, None)
            for name in new.affinity_sets:
                self._stale_sets.pop(name, None)

    def sweep(self, now: float) -> None:
        """Delete chains and sets that have been without use for a while; they are kept for the next time if nft refuses."""
        chains = [chain for chain, since in self._stale_chains.items() if now - since >= _STALE_S]
        sets = [name for name, since in self._stale_sets.items() if now - since >= _STALE_S]
        commands = [f"delete chain {self._table} {chain}" for chain in chains]
        commands += [f"delete set {self._table} {name}" for name in sets]
        if not commands:
            return
        try:
            self._nft.run("\n".join(commands))
        except NftError as error:
            log.debug("unused chains cannot be deleted yet", reason=error)
            self._stale_chains.update(dict.fromkeys(chains, now))
            self._stale_sets.update(dict.fromkeys(sets, now))
            return
        for chain in chains:
            del self._stale_chains[chain]
        for name in sets:
            del self._stale_sets[name]

    @property
    def name(self) -> str:
        """Family and name, as nft writes them."""
        return self._table

    def is_present(self) -> bool:
        """Whether the kernel still has the table."""
        try:
            self._nft.list(f"chain {self._table} services")
        except NftError:
            return False
        return True

    def cleanup(self) -> None:
        """Remove the table."""
        self._nft.run(f"add table {self._table}\ndelete table {self._table}")
        self._rules.clear()
        self._owners.clear()

    def _touch(self, touched: dict[tuple[str, str], dict[str, str | None]], owner: str, old: Rules, new: Rules) -> None:
        """Note who has which value for the elements that differ. The Service that came first keeps its say."""
        for element in {*old.elements, *new.elements}:
            if element in old.elements and element in new.elements and old.elements[element] == new.elements[element]:
                continue
            values = touched.setdefault(element, dict(self._owners.get(element, ())))
            if element in new.elements:
                values[owner] = new.elements[element]
            else:
                values.pop(owner, None)

    def _element_changes(
        self, touched: Mapping[tuple[str, str], Mapping[str, str | None]]
    ) -> tuple[list[tuple[str, str]], dict[tuple[str, str], str | None]]:
        removed, added = [], {}
        for element, values in touched.items():
            before = self._owners.get(element)
            if before and values and next(iter(before.values())) == next(iter(values.values())):
                continue
            if before:
                removed.append(element)
            if values:
                added[element] = next(iter(values.values()))
        return removed, added

    def _remember(self, updates: Mapping[str, Rules], touched: Mapping[tuple[str, str], dict[str, str | None]]) -> None:
        for owner, new in updates.items():
            if new.elements:
                self._rules[owner] = new
            else:
                self._rules.pop(owner, None)
        for element, values in touched.items():
            if values:
                self._owners[element] = values
            else:
                self._owners.pop(element, None)

    def _add_chains(self, chains: Iterable[str], sets: Mapping[str, int]) -> list[str]:
        return [
            *(f"add chain {self._table} {chain}" for chain in chains),
            *(
                f"add set {self._table} {name} {{ type {self._family.nft_type}; flags dynamic, timeout; timeout {limit}s; }}"
                for name, limit in sets.items()
            ),
        ]

    def _add_rules(self, chains: Mapping[str, Sequence[str]]) -> list[str]:
        return [f"add rule {self._table} {chain} {line}" for chain, lines in chains.items() for line in lines]

    def _add_elements(self, elements: Mapping[tuple[str, str], str | None]) -> list[str]:
        by_container: dict[str, list[str]] = {}
        for (container, key), value in elements.items():
            by_container.setdefault(container, []).append(key if value is None else f"{key} : {value}")
        return [f"add element {self._table} {name} {{ {', '.join(all)} }}" for name, all in by_container.items()]

    def _delete_elements(self, elements: Iterable[tuple[str, str]]) -> list[str]:
        by_container: dict[str, list[str]] = {}
        for container, key in elements:
            by_container.setdefault(container, []).append(key)
        return [f"delete element {self._table} {name} {{ {', '.join(all)} }}" for name, all in by_container.items()]

    def _remembered_clients(self) -> dict[str, list[tuple[str, int]]]:
        """The clients in the kernel's affinity sets, with the seconds they have left."""
        try:
            listed = self._nft.list(f"sets {self._family.value}")
        except NftError:
            return {}
        clients: dict[str, list[tuple[str, int]]] = {}
        for entry in listed:
            found = entry.get("set")
            if not isinstance(found, dict) or found.get("table") != self._options.name:
                continue
            elements = [each["elem"] for each in found.get("elem", ()) if isinstance(each, dict) and "elem" in each]
            clients[found["name"]] = [(each["val"], each["expires"]) for each in elements if "expires" in each]
        return clients

    def _skeleton(self) -> list[str]:
        ip, address, table = self._family.value, self._family.nft_type, self._table
        options = self._options
        key = f"{ip} daddr . meta l4proto . th dport"
        commands = [f'add table {table} {{ comment "Services of Kubernetes"; }}']
        commands += [
            f"add chain {table} {name} {{ type {type} hook {hook} priority {priority}; }}"
            for name, type, hook, priority in _BASE_CHAINS
        ]
        commands += [
            *(
                f"add chain {table} {chain}"
                for chain in ("services", "refuse", "firewall", "reject-chain", "masquerading")
            ),
            f"add map {table} service-ips {{ type {address} . inet_proto . inet_service : verdict; }}",
            f"add map {table} service-nodeports {{ type inet_proto . inet_service : verdict; }}",
            f"add map {table} no-endpoint-services {{ type {address} . inet_proto . inet_service : verdict; }}",
            f"add map {table} no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; }}",
            f"add map {table} firewall-ips {{ type {address} . inet_proto . inet_service : verdict; }}",
            f"add set {table} cluster-ips {{ type {address}; }}",
            f"add set {table} hairpin-connections {{ type {address} . {address} . inet_proto . inet_service; }}",
            f"add rule {table} reject-chain reject",
            f"add rule {table} firewall {key} vmap @firewall-ips",
        ]
        commands += [
            f"add rule {table} {chain}-firewall ct state new jump firewall" for chain in ("prerouting", "output")
        ]
        commands += [f"add rule {table} nat-{chain} jump services" for chain in ("prerouting", "output")]
        commands += [
            f"add rule {table} filter-{chain} ct state new jump refuse" for chain in ("input", "forward", "output")
        ]
        rules = [
            *self._masquerade_rules(),
            ("services", f"{key} vmap @service-ips"),
            ("services", f"{self._node_port_match} meta l4proto . th dport vmap @service-nodeports"),
            ("refuse", f"{key} vmap @no-endpoint-services"),
            ("refuse", f"{ip} daddr @cluster-ips reject"),
            *(
                [("refuse", f"{ip} daddr {{ {', '.join(options.service_cidrs)} }} drop")]
                if options.service_cidrs
                else []
            ),
            (
                "filter-input",
                f"ct state new {self._node_port_match} meta l4proto . th dport vmap @no-endpoint-nodeports",
            ),
            (
                "filter-output",
                f"ct state new {self._node_port_match} meta l4proto . th dport vmap @no-endpoint-nodeports",
            ),
        ]
        if self._has_localhost_node_ports:
            # The kernel lets 127.0.0.0/8 in from outside once `route_localnet` is set, which answers to 127.0.0.1 need.
            rules.append(("filter-input", 'iif != "lo" ip daddr 127.0.0.0/8 ct state new drop'))
        return [*commands, *(f"add rule {table} {chain} {rule}" for chain, rule in rules)]

    @property
    def _has_localhost_node_ports(self) -> bool:
        return (
            self._family is Family.V4 and self._options.localhost_node_ports and not self._options.node_port_addresses
        )

    @property
    def _node_port_match(self) -> str:
        ip = self._family.value
        if self._options.node_port_addresses:
            return f"{ip} daddr {{ {', '.join(self._options.node_port_addresses)} }}"
        if self._has_localhost_node_ports:
            return "fib daddr type local"
        return f"fib daddr type local {ip} daddr != {'127.0.0.0/8' if self._family is Family.V4 else '::1'}"

    def _masquerade_rules(self) -> list[tuple[str, str]]:
        ip = self._family.value
        pods = ", ".join(self._node.cluster_cidrs)
        flow = f"{ip} saddr . {ip} daddr . meta l4proto . th dport"
        rules = [
            ("nat-postrouting", "jump masquerading"),
            (
                "masquerading",
                f"mark and {MASQUERADE_MARK} != 0 mark set mark xor {MASQUERADE_MARK} masquerade fully-random",
            ),
            ("masquerading", f"ct status dnat {flow} @hairpin-connections masquerade fully-random"),
        ]
        if self._options.masquerade_pods and pods:
            neighbours = f"{ip} saddr {{ {pods} }} {ip} daddr {{ {pods} }}"
            rules.append(("masquerading", f"ct status dnat {neighbours} masquerade fully-random"))
        if self._options.masquerade_all:
            rules.append(("services", f"{ip} daddr @cluster-ips {MASQUERADE}"))
        elif pods:
            # A router may send the Services' range to any node: the answer must come back through this one.
            rules.append(("services", f"{ip} daddr @cluster-ips {ip} saddr != {{ {pods} }} {MASQUERADE}"))
        return rules


def cleanup(table: str = DEFAULT_TABLE, nft: Nft | None = None, *, resets_localhost: bool = True) -> None:
    """Remove what a proxy made in the kernel, and set `route_localnet` back to the kernel's default, as nothing guards it any more.

    What is not there is no error. Raises NftError.
    """
    nft = nft or Libnftables()
    for family in Family:
        NftTable(nft, family, Node(""), TableOptions(table)).cleanup()
    if resets_localhost and ROUTE_LOCALNET.read_text().strip() != "0":
        ROUTE_LOCALNET.write_text("0")
