"""Registers the node and keeps its status up to date.

The status is written at once when it changes (the runtime becomes ready, an image is pulled), and every few minutes though
it does not; in between, the node's Lease is its sign of life.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import NODES
from pilothouse.api.meta import Object
from pilothouse.client.client import Client, PatchType
from pilothouse.client.events import EventRecorder
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kubelet import node
from pilothouse.kubelet.equipment import Host
from pilothouse.kubelet.machine import Machine
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import Image, RuntimeConditions, RuntimeVersion
from pilothouse.kubelet.runtime.runtime import Runtime

log = get_logger("pilothouse.kubelet.node")

_API_RETRY = BackoffPolicy(0.1, 7.0, jitter=0.2)
_UNREADY_PERIOD_S = 0.25
_IMAGES_PERIOD_S = 60.0


class NodeReporter:
    """Reports one node."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        recorder: EventRecorder,
        options: KubeletOptions,
        machine: Machine,
        version: str,
        host: Host,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._recorder = recorder
        self._options = options
        self._machine = machine
        self._version = version
        self._host = host
        self._clock = clock
        self._rng = rng
        self._runtime_version: RuntimeVersion | None = None
        self._conditions: RuntimeConditions | None = None
        self._images: tuple[Image, ...] = ()
        self._images_at: float | None = None
        self._written: Mapping[str, Any] = {}
        self._written_at = 0.0
        self._pod_cidr = ""
        self._offered_cidr = ""
        self._cidr_offered = asyncio.Event()
        self.registered = asyncio.Event()
        """Set once the Node exists."""
        self.uid = ""
        """Of the Node, once it is registered."""
        self.node: Object | None = None
        """The Node as it was last seen."""

    def on_node(self, old: Object | None, new: Object | None) -> None:
        """Handles the informer's changes of this node."""
        if new is not None:
            self.node = new
            self._offer_pod_cidr(new)

    async def run(self) -> None:
        """Register the node, then report until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_always())
            group.create_task(self._follow_pod_cidr())

    async def _report_always(self) -> None:
        backoff = Backoff(_API_RETRY, self._rng)
        await self._look()
        while True:
            try:
                await self._register()
                break
            except status.StatusError as error:
                log.warning("node not registered yet", node=self._options.node_name, error=error.message)
                await self._clock.sleep(backoff.next())
        self.registered.set()
        self._tell("Starting", "Starting kubelet.")
        backoff.reset()
        while True:
            ready = node.is_ready(self._written)
            await self._clock.sleep(self._options.status_update_s if ready else _UNREADY_PERIOD_S)
            await self._look()
            try:
                await self._report()
                backoff.reset()
            except status.NotFound:
                await self._register()
            except status.StatusError as error:
                log.warning("node status not written", node=self._options.node_name, error=error.message)
                await self._clock.sleep(backoff.next())

    async def _look(self) -> None:
        """See how the runtime does."""
        try:
            if self._runtime_version is None:
                self._runtime_version = await self._runtime.version()
                self._host.runtime_name = self._runtime_version.name
            self._conditions = await self._runtime.conditions()
            now = self._clock.monotonic()
            if self._images_at is None or now - self._images_at >= _IMAGES_PERIOD_S:
                self._images = tuple(await self._runtime.images())
                self._images_at = now
        except RuntimeFailure as error:
            if self._conditions is not None:
                log.warning("the container runtime does not answer", error=str(error))
            self._conditions = None
        conditions = self._conditions
        network_ready = conditions is not None and conditions.network_ready
        self._host.network_problem = "" if network_ready else (conditions.message if conditions else "runtime is down")

    def _facts(self) -> node.NodeFacts:
        return node.NodeFacts(
            self._options,
            self._machine,
            self._version,
            self._runtime_version,
            self._conditions,
            self._images,
            self._clock.now(),
        )

    async def _register(self) -> None:
        facts = self._facts()
        try:
            created = await self._client.create(NODES, node.registration(facts))
            log.info("node registered", node=self._options.node_name)
            await self._take_over(created)
        except status.AlreadyExists:
            existing = await self._client.get(NODES, "", self._options.node_name)
            await self._adopt(existing, facts)

    async def _adopt(self, existing: Object, facts: node.NodeFacts) -> None:
        """Bring the labels of a Node that is there already up to date; its taints are left to others."""
        wanted = node.labels(facts)
        present = existing["metadata"].get("labels") or {}
        annotations = node.registration(facts)["metadata"]["annotations"]
        if any(present.get(name) != value for name, value in wanted.items()):
            patch = {"metadata": {"labels": wanted, "annotations": annotations}}
            existing = await self._client.patch(NODES, "", self._options.node_name, patch)
        await self._take_over(existing)
        self._written_at = float("-inf")
        await self._report()

    async def _take_over(self, obj: Object) -> None:
        self.uid = obj["metadata"].get("uid", "")
        self.node = obj
        self._written = obj.get("status") or {}
        self._written_at = self._clock.monotonic()
        self._offer_pod_cidr(obj)
        if node.is_ready(self._written):
            self._tell("NodeReady", f"Node {self._options.node_name} status is now: NodeReady")

    async def _report(self) -> None:
        wanted = node.status(self._facts(), self._written)
        shown = {field: self._written.get(field) for field in wanted}
        shown["conditions"] = _own(self._written, wanted)
        overdue = self._clock.monotonic() - self._written_at >= self._options.status_report_s
        if not overdue and node.same(shown, wanted):
            return
        was_ready = node.is_ready(self._written)
        patch = {field: value for field, value in wanted.items() if field == "conditions" or shown[field] != value}
        if "addresses" in patch:
            patch["addresses"] = [*patch["addresses"], {"$patch": "replace"}]
        answer = await self._client.patch(
            NODES, "", self._options.node_name, {"status": patch}, type=PatchType.STRATEGIC, subresource="status"
        )
        self._written = answer.get("status") or {}
        self._written_at = self._clock.monotonic()
        self._offer_pod_cidr(answer)
        if (ready := node.is_ready(self._written)) != was_ready:
            state = "NodeReady" if ready else "NodeNotReady"
            self._tell(state, f"Node {self._options.node_name} status is now: {state}")

    def _offer_pod_cidr(self, obj: Object) -> None:
        cidr = (obj.get("spec") or {}).get("podCIDR", "")
        if cidr and cidr != self._pod_cidr:
            self._offered_cidr = cidr
            self._cidr_offered.set()

    async def _follow_pod_cidr(self) -> None:
        """Tell the runtime the node's range of pod addresses, for CNI configurations that it makes from a template."""
        backoff = Backoff(_API_RETRY, self._rng)
        while True:
            await self._cidr_offered.wait()
            self._cidr_offered.clear()
            cidr = self._offered_cidr
            try:
                await self._runtime.set_pod_cidr(cidr)
            except RuntimeFailure as error:
                log.warning("the runtime did not take the pod CIDR", cidr=cidr, error=str(error))
                await self._clock.sleep(backoff.next())
                self._cidr_offered.set()
                continue
            self._pod_cidr = cidr
            backoff.reset()

    def _tell(self, reason: str, message: str) -> None:
        name = self._options.node_name
        reference = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": name}
        self._recorder.about(reference, "Normal", reason, message)


def _own(shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The conditions that the API shows of those that the kubelet reports, in the kubelet's order."""
    by_type = {condition["type"]: condition for condition in shown.get("conditions") or ()}
    return [by_type[condition["type"]] for condition in wanted["conditions"] if condition["type"] in by_type]
