"""Notices nodes that have gone silent, and taints nodes by their conditions. A key is a Node's name.

A kubelet shows that it lives by renewing its Lease or posting its status; what counts is when that was last *seen*, on this process'
clock. Eviction is what the NoExecute taints cause; they are added slowly, slower while many nodes are in trouble, and not at all when
all are: then the trouble is rather here. Source: upstream `pkg/controller/nodelifecycle`, KEP-589 (leases).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import LEASES, NODES, PODS
from pilothouse.api.meta import Object
from pilothouse.api.views.node import NodeView
from pilothouse.api.views.pod import PodView
from pilothouse.client.events import NORMAL, WARNING
from pilothouse.client.informer import Informer
from pilothouse.controllers.runtime import Context, Controller, Options
from pilothouse.kit.tasks import each
from pilothouse.kit.workqueue import TokenBucket

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
EXCLUDED_LABEL = "node.kubernetes.io/exclude-disruption"
BY_NODE = "node"
AT_ONCE = 16

KUBELET_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_TAINT_OF: Mapping[tuple[str, str], str] = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
}
_OURS = frozenset({*_TAINT_OF.values(), UNSCHEDULABLE})


class Disruption(Enum):
    """How a zone is doing."""

    NORMAL = auto()
    PARTIAL = auto()
    FULL = auto()


class Eviction(Enum):
    """Whether a node in trouble may lose its pods."""

    ALLOWED = auto()
    POSTPONED = auto()
    WITHHELD = auto()
    """Not while all are in trouble: what was decided before is taken back, too."""


def disruption_of(nodes: Iterable[Mapping[str, Any]], threshold: float) -> Disruption:
    """The state of a zone: fully disrupted with no node ready, partly with three or more, and `threshold` of all, not ready."""
    ready = [NodeView(node).is_ready for node in nodes]
    unready = ready.count(False)
    if unready and unready == len(ready):
        return Disruption.FULL
    if unready > 2 and unready / len(ready) >= threshold:
        return Disruption.PARTIAL
    return Disruption.NORMAL


def silent_conditions(node: Mapping[str, Any], now: float) -> list[Object]:
    """The node's conditions when its kubelet has not been heard of for too long."""
    conditions: Sequence[Mapping[str, Any]] = NodeView(node).conditions
    for type_ in KUBELET_CONDITIONS:
        present = meta.condition_of(conditions, type_)
        if present is None:
            unknown = {
                "type": type_,
                "status": "Unknown",
                "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
            }
            conditions = meta.with_condition(conditions, unknown, now)
        elif present["status"] != "Unknown":
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
            unknown = {**present, "status": "Unknown", "reason": reason, "message": message}
            conditions = meta.with_condition(conditions, unknown, now)
    return [dict(condition) for condition in conditions]


def taints_of(node: Mapping[str, Any], eviction: Eviction, now: float) -> list[Object]:
    """The taints the node should have: others' as they are, ours as its conditions say."""
    view = NodeView(node)
    added = meta.format_time(now)
    keys = {
        taint
        for condition in view.conditions
        if (taint := _TAINT_OF.get((condition["type"], condition["status"]))) is not None
    }
    if view.unschedulable:
        keys.add(UNSCHEDULABLE)
    wanted = [(key, "NoSchedule") for key in sorted(keys)]
    evicting = _TAINT_OF.get(("Ready", view.ready))
    if evicting is not None and (eviction is Eviction.ALLOWED or (eviction is Eviction.POSTPONED and _evicts(view))):
        wanted.append((evicting, "NoExecute"))
    present = {(taint["key"], taint["effect"]): dict(taint) for taint in view.taints}
    kept = [
        dict(taint)
        for taint in view.taints
        if (taint["key"], taint["effect"]) in wanted or not _is_ours(taint["key"], taint["effect"])
    ]
    fresh = [
        {"key": key, "effect": effect, "timeAdded": added} for key, effect in wanted if (key, effect) not in present
    ]
    return [*kept, *fresh]


def _is_ours(key: str, effect: str) -> bool:
    return (effect == "NoSchedule" and key in _OURS) or (effect == "NoExecute" and key in (NOT_READY, UNREACHABLE))


def _evicts(view: NodeView) -> bool:
    return any(taint["effect"] == "NoExecute" and taint["key"] in (NOT_READY, UNREACHABLE) for taint in view.taints)


@dataclass(slots=True)
class _Health:
    """What was last seen of a node; times are monotonic."""

    seen: float
    was_ready: bool = False


class NodeLifecycleController(Controller):
    """The control loop."""

    name = "node-lifecycle-controller"
    account = "node-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options = context.options
        self._events = context.recorder("node-controller")
        self._health: dict[str, _Health] = {}
        self._zones = _Zones(context, context.options)
        self._nodes = context.informers.of(NODES)
        self._leases = context.informers.of(LEASES, namespace=LEASE_NAMESPACE)
        self._pods = context.informers.of(PODS, indexers={BY_NODE: lambda pod: (PodView(pod).node_name,)})
        self.follow(self._nodes, self._node_changed)
        self.follow(self._leases, self._lease_changed)
        self.follow(self._pods)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._health.pop(key, None)
            return None
        health = self._health.setdefault(key, _Health(self.clock.monotonic()))
        grace_s = self._options.node_monitor_grace_s if NodeView(node).ready else self._options.node_startup_grace_s
        left_s = health.seen + grace_s - self.clock.monotonic()
        try:
            if left_s <= 0:
                node = await self._mark_silent(node)
            again_s = await self._taint(node)
        except status.NotFound:
            return None
        view = NodeView(node)
        if view.is_ready:
            health.was_ready = True
        elif health.was_ready and view.ready:
            self._events.event(node, NODES, NORMAL, "NodeNotReady", f"Node {key} status is now: NodeNotReady")
            await self._mark_pods(key)
            health.was_ready = False
        waits = [wait for wait in (left_s, again_s) if wait is not None and wait > 0]
        return min(waits, default=None)

    async def _mark_silent(self, node: Object) -> Object:
        conditions = silent_conditions(node, self.clock.now())
        if conditions == list(NodeView(node).conditions):
            return node
        return await self.client.update_status(NODES, {**node, "status": {**node["status"], "conditions": conditions}})

    async def _taint(self, node: Object) -> float | None:
        """Write the node's taints; returns when to ask again for an eviction that was postponed."""
        view = NodeView(node)
        eviction, again_s = Eviction.ALLOWED, None
        if view.ready in ("False", "Unknown"):
            eviction, again_s = self._zones.ask(self._nodes, node)
        taints = taints_of(node, eviction, self.clock.now())
        if taints != list(view.taints):
            patch = {"metadata": {"resourceVersion": view.resource_version}, "spec": {"taints": taints}}
            await self.client.patch(NODES, "", view.name, patch)
        return again_s

    async def _mark_pods(self, node_name: str) -> None:
        """No pod of a node that is not ready is ready."""
        ready = [pod for pod in self._pods.by_index(BY_NODE, node_name) if PodView(pod).is_ready]
        for pod, result in await each(ready, self._mark_pod, limit=AT_ONCE):
            if isinstance(result, Exception) and not isinstance(result, (status.NotFound, status.Conflict)):
                raise result
            self._events.event(pod, PODS, WARNING, "NodeNotReady", "Node is not ready")

    async def _mark_pod(self, pod: Object) -> None:
        view = PodView(pod)
        present = meta.condition_of(view.conditions, "Ready") or {"type": "Ready"}
        conditions = meta.with_condition(view.conditions, {**present, "status": "False"}, self.clock.now())
        await self.client.update_status(PODS, {**pod, "status": {**view.status, "conditions": conditions}})

    # Hearing

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.enqueue(old, new)
            return
        name = meta.name_of(new)
        if old is None or name not in self._health:
            self._health.setdefault(name, _Health(self.clock.monotonic()))
        elif _heartbeat(old) != _heartbeat(new):
            self._health[name].seen = self.clock.monotonic()
        if old is None or _traits(old) != _traits(new):
            self.queue.add(name)

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        # A renewal only moves the time after which a node is silent: the timer that is running looks at it.
        if new is not None and (health := self._health.get(meta.name_of(new))) is not None:
            health.seen = self.clock.monotonic()


class _Zones:
    """How fast nodes of each zone may be evicted."""

    def __init__(self, context: Context, options: Options) -> None:
        self._clock = context.clock
        self._options = options
        self._buckets: dict[str, tuple[float, TokenBucket]] = {}

    def ask(self, nodes: Informer, node: Object) -> tuple[Eviction, float | None]:
        """Whether `node` may be evicted now, and when to ask again if not."""
        zones: defaultdict[str, list[Object]] = defaultdict(list)
        for one in nodes.list():
            if EXCLUDED_LABEL not in meta.labels_of(one):
                zones[NodeView(one).zone].append(one)
        threshold = self._options.unhealthy_zone_threshold
        states = {zone: disruption_of(members, threshold) for zone, members in zones.items()}
        again_s = self._options.node_monitor_period_s
        if states and all(state is Disruption.FULL for state in states.values()):
            return Eviction.WITHHELD, again_s
        if _evicts(NodeView(node)):
            return Eviction.ALLOWED, None
        zone = NodeView(node).zone
        rate = self._rate(states.get(zone, Disruption.NORMAL), len(zones[zone]))
        if rate == 0:
            return Eviction.POSTPONED, again_s
        known = self._buckets.get(zone)
        if known is None or known[0] != rate:
            known = (rate, TokenBucket(self._clock, per_second=rate, burst=1))
            self._buckets[zone] = known
        if known[1].try_take():
            return Eviction.ALLOWED, None
        return Eviction.POSTPONED, again_s

    def _rate(self, state: Disruption, size: int) -> float:
        if state is not Disruption.PARTIAL:
            return self._options.node_eviction_per_second
        if size > self._options.large_cluster_nodes:
            return self._options.secondary_node_eviction_per_second
        return 0.0


def _heartbeat(node: Object) -> Any:
    condition = meta.condition_of(NodeView(node).conditions, "Ready")
    return condition.get("lastHeartbeatTime") if condition is not None else None


def _traits(node: Object) -> tuple[Any, ...]:
    view = NodeView(node)
    statuses = {condition["type"]: condition["status"] for condition in view.conditions}
    return statuses, view.taints, view.unschedulable, view.zone, view.is_deleting
