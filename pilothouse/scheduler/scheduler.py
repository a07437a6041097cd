"""The scheduler as a component: follows the cluster, decides pod by pod, assumes, binds.

A decision is synchronous (`cycle`). The pod is then counted on its node at once, before the binding is written, so that the next
decision sees it; a binding that fails takes it back. Bindings are written several at a time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
)
from pilothouse.api.meta import Object
from pilothouse.api.selector import LabelSelector, Requirement, from_map, from_object
from pilothouse.api.status import Conflict, NotFound, StatusError
from pilothouse.api.view import View
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client, PatchType
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.scheduler.columns import Columns
from pilothouse.scheduler.cycle import Placed, Unschedulable, schedule
from pilothouse.scheduler.framework import Cluster, ClusterEvent
from pilothouse.scheduler.plugins.table import default_profile
from pilothouse.scheduler.pod import PodInfo, read_pod
from pilothouse.scheduler.queue import Queue, QueuedPod

log = get_logger("pilothouse.scheduler")

BATCH = 32
"""How many decisions are made before other tasks get their turn."""


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    name: str = "default-scheduler"
    """Pods are taken whose `spec.schedulerName` is this."""
    concurrent_bindings: int = 32


class Scheduler:
    """Binds pods to nodes until cancelled."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        options: SchedulerOptions,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._rng = rng or random.Random()
        self._events = EventRecorder(client, options.name, "", clock)
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        self._namespaces = informers.of(NAMESPACES)
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.of(PERSISTENT_VOLUMES)
        self._services = informers.of(SERVICES, indexers={"namespace": lambda obj: (meta.namespace_of(obj),)})
        self._owners = {"ReplicaSet": informers.of(REPLICA_SETS), "StatefulSet": informers.of(STATEFUL_SETS)}
        self._profile = default_profile(self._siblings)
        self._queue = Queue({plugin.name: plugin.wakes_on for plugin in self._profile.filters})
        self._columns = Columns()
        self._namespace_labels: dict[str, Mapping[str, str]] = {}
        self._cluster = Cluster(self._columns, self._namespace_labels, self._claims.get, self._volumes.get)
        self._assumed: set[meta.UID] = set()
        self._bindings = asyncio.Semaphore(options.concurrent_bindings)
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Schedule until cancelled. The informers must be running."""
        watched: tuple[tuple[Informer, Callable[[Object | None, Object | None], None]], ...] = (
            (self._nodes, self._node_changed),
            (self._namespaces, self._namespace_changed),
            (self._claims, self._claim_changed),
            (self._volumes, self._claim_changed),
            (self._pods, self._pod_changed),
        )
        for informer, _ in (*watched, (self._services, None), *((owner, None) for owner in self._owners.values())):
            await informer.synced.wait()
        stops = [informer.subscribe(handler) for informer, handler in watched]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._events.run())
                await self._schedule(group)
        finally:
            for stop in stops:
                stop()

    # Following the cluster

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._columns.remove_node(meta.name_of(old))
            return
        if old is not None and not _matters(old, new):
            return
        self._columns.put_node(new)
        self._wake(ClusterEvent.NODE_ADDED if old is None else ClusterEvent.NODE_CHANGED)

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._namespace_labels[meta.name_of(new)] = meta.labels_of(new)
        elif old is not None:
            self._namespace_labels.pop(meta.name_of(old), None)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        self._wake(ClusterEvent.CLAIM_CHANGED)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        pod = PodView(obj)
        if new is None or pod.is_terminal:
            self._queue.remove(pod.uid)
            self._assumed.discard(pod.uid)
            if self._columns.remove_pod(pod.uid):
                self._wake(ClusterEvent.POD_GONE)
        elif pod.node_name:
            self._queue.remove(pod.uid)
            was_assumed = pod.uid in self._assumed
            self._assumed.discard(pod.uid)
            if was_assumed and pod.uid in self._columns.pods and self._columns.pods[pod.uid][1] == pod.node_name:
                return
            if old is None or _counts_differently(old, obj) or pod.uid not in self._columns.pods:
                self._columns.put_pod(read_pod(obj), pod.node_name)
                self._wake(ClusterEvent.POD_PLACED)
        elif self._is_ours(pod):
            info = read_pod(obj)
            if not info.is_gated and not pod.is_deleting:
                self._queue.put(info, self._clock.monotonic())
                self._changed.set()
            else:
                self._queue.remove(pod.uid)

    def _is_ours(self, pod: PodView) -> bool:
        return bool(pod.spec.get("schedulerName", "default-scheduler") == self._options.name)

    def _wake(self, event: ClusterEvent) -> None:
        self._queue.wake(event, self._clock.monotonic())
        self._changed.set()

    def _siblings(self, pod: PodInfo) -> LabelSelector | None:
        """The pods that a pod without spread constraints is spread among: those of its Services and its controller."""
        requirements: list[Requirement] = []
        for service in self._services.by_index("namespace", pod.namespace):
            selector = from_map((service.get("spec") or {}).get("selector") or {})
            if not selector.is_everything and selector.matches(pod.labels):
                requirements += selector.requirements
        controller = meta.controller_of(pod.obj)
        if controller is not None and controller["kind"] in self._owners:
            owner = self._owners[controller["kind"]].get(meta.join_key(pod.namespace, controller["name"]))
            if owner is not None:
                requirements += from_object(View(owner).spec.get("selector")).requirements
        return LabelSelector(requirements) if requirements else None

    # Deciding and binding

    async def _schedule(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._changed.clear()
            for _ in range(BATCH):
                queued = self._queue.pop(self._clock.monotonic())
                if queued is None:
                    break
                self._try(queued, group)
            else:
                await asyncio.sleep(0)
                continue
            await self._until_due()

    async def _until_due(self) -> None:
        due = self._queue.next_time(self._clock.monotonic())
        timer = None
        if due is not None:
            timer = self._clock.call_later(due - self._clock.monotonic(), self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _try(self, queued: QueuedPod, group: asyncio.TaskGroup) -> None:
        pod = queued.pod
        verdict = schedule(pod, self._cluster, self._profile, self._rng)
        if isinstance(verdict, Placed):
            self._columns.put_pod(pod, verdict.node_name)
            self._assumed.add(pod.uid)
            group.create_task(self._bind(queued, verdict.node_name), name=f"bind {pod.key}")
            return
        self._queue.failed(queued, verdict.rejected_by, self._clock.monotonic())
        self._events.event(pod.obj, PODS, "Warning", "FailedScheduling", verdict.message)
        group.create_task(self._report(pod, verdict), name=f"report {pod.key}")

    async def _bind(self, queued: QueuedPod, node_name: str) -> None:
        pod = queued.pod
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name_of(pod.obj), "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        try:
            async with self._bindings:
                await self._client.create(
                    PODS, binding, namespace=pod.namespace, name=meta.name_of(pod.obj), subresource="binding"
                )
        except StatusError as error:
            self._give_back(queued, error)
            return
        self._queue.remove(pod.uid)
        self._events.event(pod.obj, PODS, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node_name}")

    def _give_back(self, queued: QueuedPod, error: StatusError) -> None:
        pod = queued.pod
        if pod.uid in self._assumed:
            self._assumed.discard(pod.uid)
            self._columns.remove_pod(pod.uid)
            self._wake(ClusterEvent.POD_GONE)
        if isinstance(error, NotFound):
            self._queue.remove(pod.uid)
            return
        if not isinstance(error, Conflict):
            log.warning("a pod could not be bound", pod=pod.key, error=error)
        self._queue.retry(queued, self._clock.monotonic())
        self._changed.set()

    async def _report(self, pod: PodInfo, verdict: Unschedulable) -> None:
        """Put the reasons into the pod's condition, if they are not there already."""
        condition: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": verdict.message,
            "observedGeneration": pod.obj["metadata"].get("generation", 1),
        }
        present = meta.condition_of(PodView(pod.obj).conditions, "PodScheduled") or {}
        if all(present.get(name) == value for name, value in condition.items() if name != "observedGeneration"):
            return
        if present.get("status") != "False":
            condition["lastTransitionTime"] = meta.format_time(self._clock.now())
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, pod.namespace, meta.name_of(pod.obj), patch, type=PatchType.STRATEGIC, subresource="status"
            )
        except NotFound:
            return
        except StatusError as error:
            log.warning("a pod's condition could not be written", pod=pod.key, error=error)


def _matters(old: Object, new: Object) -> bool:
    """Whether a node changed in something that scheduling looks at; most of its updates are heartbeats."""
    before, after = View(old), View(new)
    return (
        before.labels != after.labels
        or before.spec != after.spec
        or before.status.get("allocatable") != after.status.get("allocatable")
        or before.status.get("images") != after.status.get("images")
    )


def _counts_differently(old: Object, new: Object) -> bool:
    before, after = PodView(old), PodView(new)
    return (
        before.node_name != after.node_name
        or before.labels != after.labels
        or before.spec != after.spec
        or before.is_deleting != after.is_deleting
    )
