"""An API server put together on a store.

Nothing here opens a socket: `pilothouse apiserver` serves the result over TLS, and a cluster in one process calls it directly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.resource import Resource
from pilothouse.apiserver import effects, security, version
from pilothouse.apiserver.aggregation.aggregator import Aggregator
from pilothouse.apiserver.aggregation.backend import Credentials
from pilothouse.apiserver.aggregation.trust import Trust
from pilothouse.apiserver.aggregation.trust import keep as keep_trust
from pilothouse.apiserver.aggregation.trust import publish as publish_trust
from pilothouse.apiserver.allocate import ServiceLifecycle
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.authn.issuer import DISCOVERY_PATH, JWKS_PATH
from pilothouse.apiserver.authn.legacy_tracking import Tracking as LegacyTracking
from pilothouse.apiserver.authz.gate import Gate
from pilothouse.apiserver.bootstrap import Bootstrap, Surroundings
from pilothouse.apiserver.cluster_addresses import Addresses, Network
from pilothouse.apiserver.crd.custom_resources import CustomResources
from pilothouse.apiserver.deadline import REQUEST_TIMEOUT_S
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.fairness.controller import DEFAULT_SEATS, Fairness
from pilothouse.apiserver.health import Check, Health, Outcomes, Progress, answering, ping, running
from pilothouse.apiserver.lifecycle import Lifecycle
from pilothouse.apiserver.masters import Masters
from pilothouse.apiserver.metrics import caches
from pilothouse.apiserver.metrics.amounts import Amounts
from pilothouse.apiserver.metrics.page import Page
from pilothouse.apiserver.node_ports import DEFAULT_NODE_PORTS, NodePorts
from pilothouse.apiserver.objects import CachedObjects
from pilothouse.apiserver.openapi import OpenApi
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.seams import Auditor, Connector
from pilothouse.apiserver.security import Security, SecurityOptions
from pilothouse.apiserver.service_repair import ServiceRepair
from pilothouse.apiserver.verbs.watch import MIN_TIMEOUT_S
from pilothouse.kit.clock import Clock
from pilothouse.main.apiserver_phases import HOOKS, Phase, hooks_of
from pilothouse.main.failure import Fatal
from pilothouse.store.base import Store
from pilothouse.store.cachers import Cachers

EVENT_TTL_S = 3600.0
STORE_HEALTH_S = 2.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How an API server is set up. `service_ranges` has one network for an address family."""

    service_ranges: Sequence[Network]
    advertise_address: str = "127.0.0.1"
    secure_port: int = 6443
    server_id: str = ""
    """Which server this is among several, for those who look at their metrics."""
    node_ports: range = DEFAULT_NODE_PORTS
    event_ttl_s: float = EVENT_TTL_S
    shares_store: bool = False
    """Whether other servers may use the same store."""
    security: SecurityOptions = field(default_factory=SecurityOptions)
    proxy_client: Credentials | None = None
    """By what extension servers know this one."""
    request_timeout_s: float = REQUEST_TIMEOUT_S
    """How long a request may take that has a set end."""
    min_watch_s: float = MIN_TIMEOUT_S
    """How long a watch lasts at least that does not say so itself."""
    seats: int = DEFAULT_SEATS
    """How many requests are worked on at once, by all priority levels together."""
    store_health_s: float = STORE_HEALTH_S
    store_readiness_s: float = STORE_HEALTH_S
    """How long the store may take to answer before the server counts as ill, and as not ready."""
    offered: tuple[Resource, ...] = RESOURCES
    """The built-in kinds that are served."""
    warns_without_effect: bool = False
    """Whether who writes a kind is told that none of Pilothouse's own components acts on it."""


async def assemble(
    store: Store,
    options: ServerOptions,
    clock: Clock,
    rng: random.Random,
    auditor: Auditor | None = None,
    *,
    others: Mapping[str, Store] | None = None,
) -> ApiServer:
    """A server on `store`, with all that a cluster has from its first moment; `others` have some resources' objects, by their prefix.

    Raises Fatal for options that cannot be, StoreUnavailable.
    """
    parts = await _Parts.make(store, options, clock, rng, auditor, others or {})
    await parts.extend()
    await parts.bootstrap()
    await parts.aggregate()
    await parts.control_flow()
    return parts.server


class _Parts:
    """A server and what it is made of, while it is put together: each method a phase of its start."""

    def __init__(
        self, secured: Security, cachers: Cachers, options: ServerOptions, clock: Clock, rng: random.Random
    ) -> None:
        self._options, self._clock, self._rng = options, clock, rng
        self._cachers, self._secured = cachers, secured
        self._progress = Progress(HOOKS)
        self._lifecycles: dict[GVR, Lifecycle] = {}
        address = f"{options.advertise_address}:{options.secure_port}"
        self._discovery = Discovery(options.offered, server_address=address)
        self._openapi = OpenApi(options.offered)
        self._by_gvr = {resource.gvr: resource for resource in RESOURCES}
        self._objects = CachedObjects(cachers, self._by_gvr.__getitem__)
        self.server: ApiServer
        self._aggregator: Aggregator
        self._fairness = Fairness(
            self._objects, clock, seats=options.seats, request_timeout_s=options.request_timeout_s
        )

    @classmethod
    async def make(
        cls,
        store: Store,
        options: ServerOptions,
        clock: Clock,
        rng: random.Random,
        auditor: Auditor | None,
        others: Mapping[str, Store],
    ) -> _Parts:
        """Raises Fatal, StoreUnavailable."""
        cachers = Cachers(store, clock, others)
        try:
            secured = await security.build(
                options.security,
                cachers,
                RESOURCES,
                clock,
                rng,
                registry_of=lambda resource: parts.server.registry(resource),
                endpoint_of_kind=lambda api_version, kind: parts.server.endpoint_of_kind(api_version, kind),
            )
        except ValueError as error:
            raise Fatal(str(error)) from error
        parts = cls(secured, cachers, options, clock, rng)
        parts.server = parts._server([store, *{id(other): other for other in others.values()}.values()], auditor)
        return parts

    def _server(self, stores: Sequence[Store], auditor: Auditor | None) -> ApiServer:
        options, secured = self._options, self._secured
        gate = Gate(secured.authorizer, self._clock)
        own = _paths(options, stores, self._discovery, self._openapi, self._progress, lambda: self.server.is_stopping)
        server = ApiServer(
            self._cachers,
            options.offered,
            authenticator=secured.authenticator,
            authorizer=gate,
            impersonator=secured.impersonator,
            fairness=self._fairness,
            auditor=auditor,
            admission=secured.admission,
            clock=self._clock,
            rng=self._rng,
            lifecycles=self._lifecycles,
            ttl_s={gvr.CORE_EVENTS: options.event_ttl_s},
            answerers=secured.answerers,
            connectors=secured.connectors,
            paths={**secured.paths, **own, **self._fairness.paths()},
            request_timeout_s=options.request_timeout_s,
            min_watch_s=options.min_watch_s,
            write_warnings=effects.warnings() if options.warns_without_effect else None,
        )
        server.background.append(secured.run)
        server.metrics.add(lambda: secured.families(options.server_id))
        server.metrics.add(gate.families)
        if auditor is not None:
            server.metrics.add(auditor.families)
            server.background.append(auditor.run)
        if secured.admission.measures is not None:
            server.metrics.add(secured.admission.measures.families)
        server.metrics.add(secured.admission.times.families)
        return server

    async def extend(self) -> None:
        """Serve custom resources."""
        server, options = self.server, self._options
        self._aggregator = Aggregator(
            server,
            self._objects,
            self._discovery.serve_remote,
            self._clock,
            self._rng,
            credentials=options.proxy_client,
            describe=self._openapi.serve_remote,
        )
        publish = (self._discovery.serve_custom, self._openapi.serve_custom, self._aggregator.serve_custom)
        custom = CustomResources(server, publish, self._clock, webhooks=self._secured.webhooks, rng=self._rng)
        await custom.open()
        server.background.append(custom.run)
        self._progress.done(*hooks_of(Phase.EXTENSIONS))

    async def bootstrap(self) -> None:
        """Make what every cluster has, and keep it."""
        server, options, store = self.server, self._options, self._cachers.store
        addresses = Addresses(options.service_ranges, server.registry, self._rng)
        services = ServiceLifecycle(addresses, NodePorts(options.node_ports, store, self._rng))
        self._lifecycles[gvr.SERVICES] = services
        surroundings = Surroundings(
            options.advertise_address, options.secure_port, options.service_ranges, shares_store=options.shares_store
        )
        bootstrap = Bootstrap(self._registry_of, surroundings, self._clock)
        await bootstrap.run()
        self._progress.done(*hooks_of(Phase.BOOTSTRAP))
        if surroundings.is_reachable and surroundings.shares_store:
            masters = Masters(store, options.advertise_address, bootstrap.put_endpoints, self._clock)
            await masters.turn()
            server.background.append(masters.run)
        server.background.append(ServiceRepair(services, self._registry_of, self._clock).run)

    async def aggregate(self) -> None:
        """Publish whom to trust, and lead to extension servers."""
        server, clock = self.server, self._clock
        config_maps = await self._registry_of(gvr.CONFIG_MAPS)
        await publish_trust(config_maps, self._trust(), clock.now())
        server.background.append(LegacyTracking(config_maps, clock).run)
        server.background.append(lambda: keep_trust(config_maps, self._trust, clock))
        await self._aggregator.open()
        server.background.append(self._aggregator.run)
        self._progress.done(*hooks_of(Phase.AGGREGATION))

    async def control_flow(self) -> None:
        """Share the server out among its clients."""
        server, fairness = self.server, self._fairness
        amounts = Amounts(server, self._clock)
        fairness.stored, fairness.watchers = amounts.stored, amounts.watchers
        server.metrics.add(fairness.families)
        server.metrics.add(lambda: caches.families(server.cachers.opened()))
        await fairness.open()
        server.background.append(lambda: fairness.run(server))
        self._progress.done(*hooks_of(Phase.FLOW_CONTROL))

    async def _registry_of(self, kind: GVR) -> Registry:
        return await self.server.registry(self._by_gvr[kind])

    def _trust(self) -> Trust:
        options, secured = self._options.security, self._secured
        return Trust(
            secured.certificates.pem.decode() if secured.certificates is not None else "",
            secured.proxies.pem.decode() if secured.proxies is not None else "",
            options.front_proxy_names,
            options.front_proxy_headers,
        )


def _store_checks(stores: Sequence[Store], options: ServerOptions) -> tuple[dict[str, Check], dict[str, Check]]:
    """Of health and of readiness. The first store is the cluster's own, the others have some resources' objects."""
    health, ready = {}, {}
    for number, store in enumerate(stores, -1):
        which = "etcd" if number < 0 else "etcd-override"
        which_one = "" if number < 0 else f"-{number}"
        health[which + which_one] = answering(store.revision, options.store_health_s)
        ready[f"{which}-readiness{which_one}"] = answering(store.revision, options.store_readiness_s)
    return health, ready


def _paths(
    options: ServerOptions,
    stores: Sequence[Store],
    discovery: Discovery,
    openapi: OpenApi,
    progress: Progress,
    is_stopping: Callable[[], bool],
) -> dict[str, Connector]:
    paths: dict[str, Connector] = {"/version": version.serve}
    paths |= dict.fromkeys(("/api/", "/apis/", *discovery.paths), discovery.serve)
    paths |= dict.fromkeys(("/openapi/v2", "/openapi/v3", "/openapi/v3/"), openapi.serve)
    health, readiness = _store_checks(stores, options)
    first = {"ping": ping, "log": ping, **health}
    ready = {
        **first,
        **readiness,
        "informer-sync": progress.informers,
        **progress.checks(),
        "shutdown": running(is_stopping),
    }
    outcomes = Outcomes()
    told: list[str] = []
    for name in ("livez", "readyz", "healthz"):
        checks = ready if name == "readyz" else {**first, **progress.checks()}
        paths |= Health(name, checks, outcomes).paths()
        told += (f"/{name}/{check}" for check in checks)
    paths["/metrics/slis"] = Page(outcomes.families).serve
    keys = () if options.security.verifying_keys is None else (DISCOVERY_PATH, JWKS_PATH)
    named = (*(path for path in paths if not path.endswith("/")), *told, *keys, "/metrics", "/apis/", "/openapi/v3/")
    paths["/"] = lambda call: discovery.index(call, named)
    return paths
