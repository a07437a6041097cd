"""What a cluster has from its first moment: system namespaces, priority classes, flow control, the range of Service addresses, and the
`kubernetes` Service that leads to the API server itself.

Everything is created if it is missing and left as it is otherwise, but for the endpoints of the `kubernetes` Service, which follow the
server's address. Source: `pkg/controlplane/controller`, `pkg/registry/scheduling/rest`, kubeadm's namespaces.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.schema import schema_of
from pilothouse.api.status import AlreadyExists, Invalid, NotFound
from pilothouse.api.user import User
from pilothouse.api.view import json_copy
from pilothouse.apiserver import flow
from pilothouse.apiserver.allocate import ServiceLifecycle
from pilothouse.apiserver.authz import bootstrap as roles
from pilothouse.apiserver.cluster_addresses import Network
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.ownership import Track
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.write import Write
from pilothouse.kit.clock import Clock

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_PEER_TRIES = 20
_PEER_WAIT_S = 0.1
_SERVER = User("system:apiserver", groups=("system:masters",))
_SKIP_MIRROR = {"endpointslice.kubernetes.io/skip-mirror": "true"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the server is and what it hands out."""

    advertise_address: str
    port: int
    service_ranges: Sequence[Network]
    service_port: int = 443
    shares_store: bool = False
    """Whether other servers may use the same store; then the endpoints of all are for `masters`."""

    @property
    def is_reachable(self) -> bool:
        """Endpoints may not be loopback addresses: a server that is reached from its own machine only has none."""
        return not ipaddress.ip_address(self.advertise_address).is_loopback

    @property
    def service_address(self) -> str:
        """The address of the `kubernetes` Service: the first of the first range."""
        first = self.service_ranges[0]
        return str(first.network_address + 1)


class Bootstrap:
    """Makes the objects. `registry_of` gives the registry of a kind. Several servers may do it at the same time."""

    def __init__(
        self, registry_of: Callable[[GVR], Awaitable[Registry]], surroundings: Surroundings, clock: Clock
    ) -> None:
        self._registry_of = registry_of
        self._surroundings = surroundings
        self._clock = clock

    async def run(self) -> None:
        """Create what is missing. Idempotent. Raises StatusError, StoreUnavailable."""
        objects = initial_objects(self._surroundings)
        namespaces = [each for each in objects if each[0] == gvr.NAMESPACES]
        # Many at a time: a store that writes in groups then needs few writes to disk.
        await self._each(self._ensure, namespaces)
        await self._each(self._ensure, [each for each in objects if each[0] != gvr.NAMESPACES])
        await self._each(self._reconcile, roles.objects())
        if self._surroundings.is_reachable and not self._surroundings.shares_store:
            await self.put_endpoints([self._surroundings.advertise_address])

    async def put_endpoints(self, addresses: Sequence[str]) -> None:
        """Make the endpoints of the `kubernetes` Service lead to `addresses`, which are of one family."""
        await self._each(self._put, endpoint_objects(addresses, self._surroundings.port))

    @staticmethod
    async def _each(do: Callable[[GVR, Object], Awaitable[object]], objects: Iterable[tuple[GVR, Object]]) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, obj in objects:
                group.create_task(_run(do, kind, obj))

    async def _reconcile(self, kind: GVR, expected: Object) -> None:
        """Roles and bindings: what is there gets what it lacks."""
        registry = await self._registry_of(kind)
        metadata = expected["metadata"]
        present = registry.cacher.get(metadata.get("namespace", ""), metadata["name"])
        if present is None:
            await self._ensure(kind, expected)
        elif roles.reconciled(expected, present.object()) is not None:

            async def change(now: Object) -> Object:
                return roles.reconciled(expected, now) or now

            await registry.change(change, self._write(metadata))

    async def _ensure(self, kind: GVR, obj: Object) -> bool:
        """Have it there; whether this made it."""
        registry = await self._registry_of(kind)
        metadata = obj["metadata"]
        if registry.cacher.get(metadata.get("namespace", ""), metadata["name"]) is not None:
            return False
        draft = json_copy(obj)
        schema_of(kind.api_version, kind.kind).load(draft)
        schema_of(kind.api_version, kind.kind).default(draft)
        registry.resource.default(draft)
        try:
            await registry.create(draft, self._write(metadata, own(kind)))
        except AlreadyExists:
            return False
        except Invalid:
            if kind != gvr.SERVICES or not await self._wait_for_service(registry, metadata):
                raise
            return False
        return True

    async def _wait_for_service(self, registry: Registry, metadata: Mapping[str, Any]) -> bool:
        """The Service's address is taken. Wait for the server that took it to write the Service; whether it did.

        If not, that server died in between: give the address back and write the Service here.
        """
        for _ in range(_PEER_TRIES):
            await self._clock.sleep(_PEER_WAIT_S)
            await registry.cacher.fresh()
            if registry.cacher.get(metadata["namespace"], metadata["name"]) is not None:
                return True
        if not isinstance(registry.lifecycle, ServiceLifecycle):
            return False
        addresses = await self._registry_of(gvr.IP_ADDRESSES)
        cached = addresses.cacher.get("", self._surroundings.service_address)
        parent = cached.object()["spec"]["parentRef"] if cached is not None else {}
        if (parent.get("namespace"), parent.get("name")) != (metadata["namespace"], metadata["name"]):
            return False
        await registry.lifecycle.addresses.release(self._surroundings.service_address)
        await self._ensure(gvr.SERVICES, _kubernetes_service(self._surroundings))
        return True

    async def _put(self, kind: GVR, obj: Object) -> None:
        async def change(present: Object) -> Object:
            kept = {key: present[key] for key in ("kind", "apiVersion", "metadata")}
            return {**kept, **{key: value for key, value in json_copy(obj).items() if key not in kept}}

        registry = await self._registry_of(kind)
        try:
            await registry.change(change, self._write(obj["metadata"]))
        except NotFound:
            if not await self._ensure(kind, obj):
                await registry.cacher.fresh()
                await registry.change(change, self._write(obj["metadata"]))

    @staticmethod
    def _write(metadata: Mapping[str, Any], track: Track | None = None) -> Write:
        return Write(_SERVER, metadata.get("namespace", ""), metadata["name"], track=track)


async def _run(do: Callable[[GVR, Object], Awaitable[object]], kind: GVR, obj: Object) -> None:
    await do(kind, obj)


def initial_objects(surroundings: Surroundings) -> list[tuple[GVR, Object]]:
    """In the order of creation."""
    objects: list[tuple[GVR, Object]] = [
        (gvr.NAMESPACES, {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}})
        for name in SYSTEM_NAMESPACES
    ]
    objects += [
        (gvr.PRIORITY_CLASSES, _priority_class(*values))
        for values in (
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            ),
        )
    ]
    objects += [(gvr.PRIORITY_LEVEL_CONFIGURATIONS, level) for level in flow.priority_levels()]
    objects += [(gvr.FLOW_SCHEMAS, schema) for schema in flow.flow_schemas()]
    cidrs = [str(network) for network in surroundings.service_ranges]
    objects.append((gvr.SERVICE_CIDRS, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}))
    objects.append((gvr.SERVICES, _kubernetes_service(surroundings)))
    return objects


def endpoint_objects(addresses: Sequence[str], port_number: int) -> list[tuple[GVR, Object]]:
    """The Endpoints and the EndpointSlice of the `kubernetes` Service."""
    ordered = sorted(addresses)
    family = f"IPv{ipaddress.ip_address(ordered[0]).version}"
    metadata = {"name": "kubernetes", "namespace": "default"}
    port = {"name": "https", "port": port_number, "protocol": "TCP"}
    return [
        (
            gvr.ENDPOINTS,
            {
                "metadata": {**metadata, "labels": dict(_SKIP_MIRROR)},
                "subsets": [{"addresses": [{"ip": address} for address in ordered], "ports": [port]}],
            },
        ),
        (
            gvr.ENDPOINT_SLICES,
            {
                "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": family,
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in ordered],
                "ports": [port],
            },
        ),
    ]


def _kubernetes_service(surroundings: Surroundings) -> Object:
    family = f"IPv{surroundings.service_ranges[0].version}"
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"provider": "kubernetes", "component": "apiserver"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": surroundings.service_address,
            "clusterIPs": [surroundings.service_address],
            "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [
                {
                    "name": "https",
                    "port": surroundings.service_port,
                    "protocol": "TCP",
                    "targetPort": surroundings.port,
                }
            ],
        },
    }


def _priority_class(name: str, value: int, description: str) -> Object:
    return {
        "metadata": {"name": name},
        "value": value,
        "globalDefault": False,
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
    }
