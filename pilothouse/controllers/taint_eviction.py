"""Deletes pods that do not tolerate their node's NoExecute taints, or no longer do. A key is a Pod's.

Source: upstream `pkg/controller/tainteviction`, KEP-3902.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import NODES, PODS
from pilothouse.api.meta import Object
from pilothouse.api.placement import tolerates
from pilothouse.api.views.node import NodeView
from pilothouse.api.views.pod import PodView
from pilothouse.client.events import NORMAL
from pilothouse.controllers.disruption_target import disrupt
from pilothouse.controllers.runtime import Context, Controller

BY_NODE = "node"
REASON = "DeletionByTaintManager"
MESSAGE = "Taint manager: deleting due to NoExecute taint"


def toleration_s(pod: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> float | None:
    """How long the pod may stay with these NoExecute taints: zero for not at all, None for ever."""
    shortest: float | None = None
    for taint in taints:
        matching = [one for one in PodView(pod).spec.get("tolerations") or () if tolerates(one, taint)]
        if not matching:
            return 0.0
        for one in matching:
            if (seconds := one.get("tolerationSeconds")) is not None:
                shortest = max(0.0, float(seconds)) if shortest is None else min(shortest, max(0.0, float(seconds)))
    return shortest


def evicting_taints(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [taint for taint in NodeView(node).taints if taint["effect"] == "NoExecute"]


class TaintEvictionController(Controller):
    """The control loop."""

    name = "taint-eviction-controller"
    account = "node-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._events = context.recorder("taint-eviction-controller")
        self._since: dict[str, tuple[str, float]] = {}
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS, indexers={BY_NODE: lambda pod: (PodView(pod).node_name,)})
        self.follow(self._nodes, self._node_changed)
        self.follow(self._pods, self._pod_changed)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        node = self._nodes.get(PodView(pod).node_name) if pod is not None else None
        taints = evicting_taints(node) if node is not None else []
        stay_s = toleration_s(pod, taints) if pod is not None and taints else None
        if pod is None or stay_s is None or meta.is_deleting(pod):
            if self._since.pop(key, None) is not None and pod is not None and not meta.is_deleting(pod):
                message = f"Cancelling deletion of Pod {key}"
                self._events.event(pod, PODS, NORMAL, "TaintManagerEviction", message)
            return None
        uid = meta.uid_of(pod)
        known = self._since.get(key)
        since = known[1] if known is not None and known[0] == uid else self.clock.monotonic()
        self._since[key] = (uid, since)
        left_s = since + stay_s - self.clock.monotonic()
        if left_s > 0:
            return left_s
        self._events.event(pod, PODS, NORMAL, "TaintManagerEviction", f"Marking for deletion Pod {key}")
        await disrupt(self.client, pod, REASON, MESSAGE, self.clock.now())
        self._since.pop(key, None)
        return None

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        before = evicting_taints(old) if old is not None else []
        after = evicting_taints(new) if new is not None else []
        node = new if new is not None else old
        if before != after and node is not None:
            for pod in self._pods.by_index(BY_NODE, meta.name_of(node)):
                self.queue.add(meta.key_of(pod))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._since.pop(meta.key_of(old), None)
            return
        node = self._nodes.get(PodView(new).node_name)
        if (
            node is not None
            and evicting_taints(node)
            and (
                old is None
                or PodView(old).node_name != PodView(new).node_name
                or _tolerations(old) != _tolerations(new)
            )
        ):
            self.queue.add(meta.key_of(new))


def _tolerations(pod: Object) -> Any:
    return PodView(pod).spec.get("tolerations")
