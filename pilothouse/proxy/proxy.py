"""The service proxy of one node: follows Services and EndpointSlices and keeps the kernel's tables in step.

The first pass replaces the tables whole, in one transaction, so that there is no moment without rules when the proxy is started again;
they also stay when it ends. After that each pass changes what the changed Services own. If nft refuses a change, or the table is found
gone (a firewall was reloaded), the tables are replaced whole again. Source: KEP-3866 for behaviour.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pilothouse.api.gvr import ENDPOINT_SLICES, NODES, SERVICES
from pilothouse.api.meta import Object
from pilothouse.api.view import View
from pilothouse.api.views.service import ServiceView
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.proxy.backends.libnftables import Libnftables, NftError
from pilothouse.proxy.backends.nftables import (
    DEFAULT_TABLE,
    ROUTE_LOCALNET,
    Nft,
    NftTable,
    TableOptions,
    cleanup,
)
from pilothouse.proxy.changes import ChangeTracker
from pilothouse.proxy.conntrack import Conntrack, Frontend, frontends_of
from pilothouse.proxy.desired import Node, Rules, merge, reach_of, rules_of
from pilothouse.proxy.health import HttpPort, ProxyHealth, ServiceHealthPorts
from pilothouse.proxy.metrics import ProxyMetrics
from pilothouse.proxy.services import Endpoint, Family, ServicePort, endpoints_of, families_of, service_ports

log = get_logger("pilothouse.proxy")

ZONE_LABEL = "topology.kubernetes.io/zone"
_TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"
_OPEN_RETRY_S = 5.0
_RETRY = BackoffPolicy(base_s=0.5, max_s=30.0)


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Ranges and addresses may be of both families; a family without a range is not proxied.

    `node_port_addresses` limits node ports to these addresses or ranges; without it they answer on all of the node's, and with
    `localhost_node_ports` on 127.0.0.1. A health or metrics port of 0 is not opened; an empty host means all addresses.
    """

    node_name: str
    node_addresses: tuple[str, ...] = ()
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_port_addresses: tuple[str, ...] = ()
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    table: str = DEFAULT_TABLE
    min_sync_period_s: float = 0.02
    check_period_s: float = 30.0
    health_host: str = ""
    health_port: int = 10256
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 10249


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one Service comes to in one family."""

    rules: Rules
    udp: Mapping[Frontend, frozenset[tuple[str, int]]]
    local_endpoints: int


class Proxy:
    """Runs until cancelled. The informers are run by whoever owns the factory."""

    def __init__(
        self,
        informers: InformerFactory,
        options: ProxyOptions,
        clock: Clock,
        *,
        nft: Callable[[], Nft] = Libnftables,
        conntrack: Conntrack | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._informers = informers
        self._options = options
        self._clock = clock
        self._make_nft = nft
        self._rng = rng or random.Random()
        self._wake = asyncio.Event()
        self._tracker = ChangeTracker(self._on_change)
        self._families = families_of(options.cluster_cidrs) or (Family.V4,)
        self._tables: dict[Family, NftTable] = {}
        self._zone = ""
        self._is_whole = False
        self._nft_in_use = asyncio.Lock()
        self._udp: dict[tuple[Family, str], Mapping[Frontend, frozenset[tuple[str, int]]]] = {}
        self._conntrack = conntrack or Conntrack()
        self.health = ProxyHealth(clock, limit_s=2 * options.check_period_s)
        self.metrics = ProxyMetrics()
        self.synced = asyncio.Event()
        """Set when the kernel holds everything that was there at the start."""
        self._service_ports = ServiceHealthPorts("", self.health)

    async def run(self) -> None:
        """Proxy until cancelled; the rules stay. Raises NftError if nft's library is missing."""
        options = self._options
        services, slices = self._informers.of(SERVICES), self._informers.of(ENDPOINT_SLICES)
        node = self._informers.of(NODES, field_selector=f"metadata.name={options.node_name}")
        nft = self._make_nft()
        self._make_tables(nft)
        _allow_localhost(self._families, options)
        ports = [
            HttpPort(options.health_host, options.health_port, self.health.respond),
            HttpPort(options.metrics_host, options.metrics_port, self.metrics.respond),
        ]
        unsubscribe: list[Callable[[], None]] = []
        try:
            unsubscribe = [
                services.subscribe(self._tracker.on_service),
                slices.subscribe(self._tracker.on_slice),
                node.subscribe(self._on_node),
            ]
            await services.synced.wait()
            await slices.synced.wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sync_loop(), name="proxy sync")
                group.create_task(self._check_loop(), name="proxy check")
                for port, number in zip(ports, (options.health_port, options.metrics_port), strict=True):
                    if number:
                        group.create_task(self._open(port), name=f"proxy port {number}")
        finally:
            for stop in unsubscribe:
                stop()
            for port in ports:
                await port.close()
            await self._service_ports.close()

    def _make_tables(self, nft: Nft) -> None:
        options = self._options
        for family in self._families:
            table = TableOptions(
                options.table,
                tuple(filter(family.holds, options.service_cidrs)),
                tuple(filter(family.holds, options.node_port_addresses)),
                options.masquerade_all,
                options.localhost_node_ports,
                masquerade_pods=not _bridges_ask_netfilter(family),
            )
            self._tables[family] = NftTable(nft, family, self._node(family), table)

    def _node(self, family: Family) -> Node:
        return Node(
            self._options.node_name,
            self._zone,
            tuple(filter(family.holds, self._options.node_addresses)),
            tuple(filter(family.holds, self._options.cluster_cidrs)),
        )

    def _on_change(self) -> None:
        self.health.pending()
        self._wake.set()

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.health.is_node_eligible = False
            return
        view = View(new)
        taints = {taint.get("key") for taint in view.spec.get("taints") or ()}
        self.health.is_node_eligible = not view.is_deleting and _TO_BE_DELETED_TAINT not in taints
        zone = view.labels.get(ZONE_LABEL, "")
        if zone != self._zone:
            self._zone = zone
            self._is_whole = False
            self._on_change()

    async def _open(self, port: HttpPort) -> None:
        """Services matter more than a port for probes: one that is in use is logged and tried again."""
        while True:
            try:
                return await port.open()
            except OSError as error:
                log.error(
                    "a port of the proxy cannot be opened", port=port.port, reason=error, retry_in_s=_OPEN_RETRY_S
                )
            await self._clock.sleep(_OPEN_RETRY_S)

    async def _sync_loop(self) -> None:
        backoff = Backoff(_RETRY, self._rng)
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            started = self._clock.monotonic()
            try:
                await self._sync()
            except NftError as error:
                # A change that does not fit what the kernel holds is no reason to wait: everything anew may well do.
                delay_s = 0.0 if self._is_whole else backoff.next()
                self._is_whole = False
                self.metrics.failures += 1
                log.error("nft refused the Services' rules", reason=error, retry_in_s=round(delay_s, 1))
                self._wake.set()
                await self._clock.sleep(delay_s)
                continue
            backoff.reset()
            if not self._wake.is_set():
                self.health.updated()
            self.metrics.synced(self._clock.now(), self._clock.monotonic() - started)
            self.synced.set()
            await self._clock.sleep(self._options.min_sync_period_s)

    async def _sync(self) -> None:
        is_whole = self._is_whole
        changed = self._tracker.take()
        keys = self._tracker.keys() if not is_whole else sorted(changed)
        stale: dict[Family, dict[Frontend, frozenset[tuple[str, int]]]] = {}
        local_endpoints: dict[str, int] = dict.fromkeys(changed, 0)
        try:
            for family, table in self._tables.items():
                outcomes = {key: self._outcome(key, family) for key in keys}
                rules = {key: outcome.rules for key, outcome in outcomes.items()}
                async with self._nft_in_use:
                    if is_whole:
                        await asyncio.to_thread(table.change, rules, self._clock.monotonic())
                    else:
                        await asyncio.to_thread(table.replace, rules)
                for key, outcome in outcomes.items():
                    local_endpoints[key] = max(local_endpoints.get(key, 0), outcome.local_endpoints)
                    if outcome.udp != self._udp.get((family, key), {}):
                        stale.setdefault(family, {}).update(outcome.udp)
                    if outcome.udp:
                        self._udp[family, key] = outcome.udp
                    else:
                        self._udp.pop((family, key), None)
        except BaseException:
            self._tracker.put_back(changed)
            raise
        self._is_whole = True
        for key, count in local_endpoints.items():
            service = self._tracker.service(key)
            await self._service_ports.update(key, service.health_check_node_port if service else 0, count)
        for family, frontends in stale.items():
            await self._conntrack.flush(family, frontends)

    def _outcome(self, key: str, family: Family) -> _Outcome:
        """Nothing for a Service that is gone; nor for one that cannot be read, which must not keep the others waiting."""
        service = self._tracker.service(key)
        if service is None:
            return _Outcome(Rules(), {}, 0)
        try:
            return self._outcome_of(key, service, family)
        except Exception:
            log.exception("a Service cannot be proxied", service=key)
            return _Outcome(Rules(), {}, 0)

    def _outcome_of(self, key: str, service: ServiceView, family: Family) -> _Outcome:
        slices = self._tracker.slices(key)
        node = self._node(family)
        parts: list[Rules] = []
        udp: dict[Frontend, frozenset[tuple[str, int]]] = {}
        local: set[str] = set()
        for port in service_ports(service, family):
            endpoints = endpoints_of(slices, port, family, self._options.node_name)
            parts.append(rules_of(port, endpoints, node, family))
            udp.update(frontends_of(port, endpoints))
            local |= _local_addresses(port, endpoints, node)
        return _Outcome(merge(parts), udp, len(local))

    async def _check_loop(self) -> None:
        """Put back what someone else removed, and delete what has become unused."""
        while True:
            await self._clock.sleep(self._options.check_period_s)
            for table in self._tables.values():
                if self._is_whole and not await asyncio.to_thread(table.is_present):
                    log.warning(
                        "the table of the Services was removed by someone else and is made again", table=table.name
                    )
                    self._is_whole = False
                    self._on_change()
                elif table.stale:
                    await asyncio.to_thread(table.sweep, self._clock.monotonic())

    def cleanup(self) -> None:
        """Remove the tables. The proxy must have ended. Raises NftError."""
        cleanup(self._options.table, self._make_nft(), resets_localhost=self._options.localhost_node_ports)


def _local_addresses(port: ServicePort, endpoints: tuple[Endpoint, ...], node: Node) -> set[str]:
    if not port.is_external_local:
        return set()
    return {endpoint.ip for endpoint in reach_of(port, endpoints, node).local if endpoint.is_ready}


def _allow_localhost(families: tuple[Family, ...], options: ProxyOptions) -> None:
    """Let answers to 127.0.0.1 come in from the pods' bridge; the table drops everything else that comes for it."""
    if Family.V4 not in families or not options.localhost_node_ports or options.node_port_addresses:
        return
    try:
        ROUTE_LOCALNET.write_text("1")
    except OSError as error:
        log.warning("node ports do not answer on 127.0.0.1", reason=error)


def _bridges_ask_netfilter(family: Family) -> bool:
    setting = "bridge-nf-call-iptables" if family is Family.V4 else "bridge-nf-call-ip6tables"
    try:
        return Path("/proc/sys/net/bridge", setting).read_text().strip() == "1"
    except OSError:
        return False
