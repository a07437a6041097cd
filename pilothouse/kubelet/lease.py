"""The node's sign of life: its Lease in kube-node-lease, renewed four times within its duration (KEP-0009)."""

from __future__ import annotations

import random
from collections.abc import Callable

from pilothouse.api import meta, status
from pilothouse.api.gvr import LEASES, NODES
from pilothouse.api.meta import Object
from pilothouse.client.client import Client
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.kubelet.lease")

NAMESPACE = "kube-node-lease"
_RETRY = BackoffPolicy(0.2, 7.0, jitter=0.2)


class NodeLease:
    """Holds the Lease of one node. `node_uid` gives the Node's UID, empty while it is not registered."""

    def __init__(
        self,
        client: Client,
        node_name: str,
        node_uid: Callable[[], str],
        duration_s: int,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._node_uid = node_uid
        self._duration_s = duration_s
        self._clock = clock
        self._rng = rng
        self._lease: Object | None = None

    async def run(self) -> None:
        """Renew until cancelled."""
        backoff = Backoff(_RETRY, self._rng)
        while True:
            try:
                await self._renew()
            except status.StatusError as error:
                # Somebody else's write, or a Lease that was deleted: look again before the next try.
                self._lease = None
                log.warning("node lease not renewed", node=self._node_name, error=error.message)
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            await self._clock.sleep(self._duration_s / 4 * (1 + 0.04 * self._rng.random()))

    async def _renew(self) -> None:
        if self._lease is None:
            try:
                self._lease = await self._client.get(LEASES, NAMESPACE, self._node_name)
            except status.NotFound:
                self._lease = await self._client.create(LEASES, self._renewed({}))
                return
        self._lease = await self._client.update(LEASES, self._renewed(self._lease))

    def _renewed(self, lease: Object) -> Object:
        metadata = {**(lease.get("metadata") or {"name": self._node_name, "namespace": NAMESPACE})}
        uid = self._node_uid()
        if uid and not metadata.get("ownerReferences"):
            owner = {"apiVersion": NODES.api_version, "kind": NODES.kind, "name": self._node_name, "uid": uid}
            metadata["ownerReferences"] = [owner]
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                **(lease.get("spec") or {}),
                "holderIdentity": self._node_name,
                "leaseDurationSeconds": self._duration_s,
                "renewTime": meta.format_micro_time(self._clock.now()),
            },
        }
