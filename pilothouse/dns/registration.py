"""How pods find the DNS server of their node: the Service kube-system/kube-dns without a selector, and a slice a node.

With `internalTrafficPolicy: Local` each node's proxy leads to the slice of that node alone. The Service is made if it is absent and else
left as it is; the slice is kept right for as long as the server runs, and goes with its Node.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import ENDPOINT_SLICES, NODES, SERVICES
from pilothouse.api.meta import Object, key_of, uid_of
from pilothouse.api.views.endpoint_slice import MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from pilothouse.client.client import Client
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.dns.registration")

NAMESPACE = "kube-system"
SERVICE_NAME = "kube-dns"
MANAGER = "dns.pilothouse.io"

_RETRY = BackoffPolicy(base_s=0.1, max_s=10.0, jitter=0.5)


def dns_service(cluster_ip: str) -> Object:
    """The Service, as kubeadm makes it but for the selector."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": NAMESPACE,
            "name": SERVICE_NAME,
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip,
            "internalTrafficPolicy": "Local",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }


def dns_slice(node_name: str, node_uid: str, address: str, port: int) -> Object:
    """The slice of one node. Without the Node's uid nothing owns it."""
    metadata: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": f"{SERVICE_NAME}-{node_name}",
        "labels": {SERVICE_NAME_LABEL: SERVICE_NAME, MANAGED_BY_LABEL: MANAGER},
    }
    if node_uid:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid}]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": node_name,
            }
        ],
        "ports": [
            {"name": "dns", "port": port, "protocol": "UDP"},
            {"name": "dns-tcp", "port": port, "protocol": "TCP"},
        ],
    }


class Registration:
    """Keeps the Service and this node's slice there."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        clock: Clock,
        rng: random.Random,
        *,
        node_name: str,
        address: str,
        port: int,
        cluster_ip: str,
    ) -> None:
        self._client = client
        self._services = informers.of(SERVICES)
        self._slices = informers.of(ENDPOINT_SLICES)
        self._nodes = informers.of(NODES, field_selector=f"metadata.name={node_name}")
        self._clock = clock
        self._rng = rng
        self._node_name = node_name
        self._address = address
        self._port = port
        self._cluster_ip = cluster_ip
        self._wake = asyncio.Event()
        self.done = asyncio.Event()
        """Set once Service and slice are there."""

    async def run(self) -> None:
        """Until cancelled; both stay behind. The informers of Services and slices must have synced."""
        keys = {f"{NAMESPACE}/{SERVICE_NAME}", f"{NAMESPACE}/{SERVICE_NAME}-{self._node_name}", self._node_name}

        def on_change(old: Object | None, new: Object | None) -> None:
            if key_of(new or old or {}) in keys:
                self._wake.set()

        stops = [informer.subscribe(on_change) for informer in (self._services, self._slices, self._nodes)]
        backoff = Backoff(_RETRY, self._rng)
        try:
            while True:
                self._wake.clear()
                try:
                    await self._ensure()
                except status.StatusError as error:
                    delay_s = backoff.next()
                    if delay_s > 1:
                        log.warning("cannot register", reason=error, retry_in_s=round(delay_s, 1))
                    await self._clock.sleep(delay_s)
                    continue
                backoff.reset()
                self.done.set()
                await self._wake.wait()
        finally:
            for stop in stops:
                stop()

    async def _ensure(self) -> None:
        if self._services.get(f"{NAMESPACE}/{SERVICE_NAME}") is None:
            try:
                await self._client.create(SERVICES, dns_service(self._cluster_ip))
            except status.AlreadyExists:
                log.debug("another node made the Service")
        node = self._nodes.get(self._node_name)
        wanted = dns_slice(self._node_name, uid_of(node) if node else "", self._address, self._port)
        known = self._slices.get(key_of(wanted))
        if known is None:
            try:
                await self._client.create(ENDPOINT_SLICES, wanted)
            except status.AlreadyExists:
                known = await self._client.get(ENDPOINT_SLICES, NAMESPACE, wanted["metadata"]["name"])
        if known is not None and not _holds(known, wanted):
            if known["addressType"] != wanted["addressType"]:
                await self._client.delete(ENDPOINT_SLICES, NAMESPACE, wanted["metadata"]["name"])
                await self._client.create(ENDPOINT_SLICES, wanted)
                return
            version = known["metadata"].get("resourceVersion", "")
            metadata = {**wanted["metadata"], "resourceVersion": version}
            await self._client.update(ENDPOINT_SLICES, {**wanted, "metadata": metadata})


def _holds(known: Object, wanted: Object) -> bool:
    """Whether the object says everything that is wanted, whatever defaults it has beside that."""
    if not all(known.get(field) == wanted[field] for field in ("addressType", "endpoints")):
        return False
    ports = [{name: port.get(name) for name in ("name", "port", "protocol")} for port in known.get("ports") or ()]
    metadata = known["metadata"]
    has_labels = wanted["metadata"]["labels"].items() <= (metadata.get("labels") or {}).items()
    owners = [owner.get("uid") for owner in metadata.get("ownerReferences") or ()]
    wants = [owner["uid"] for owner in wanted["metadata"].get("ownerReferences") or ()]
    return sorted(ports, key=str) == sorted(wanted["ports"], key=str) and has_labels and set(wants) <= set(owners)
