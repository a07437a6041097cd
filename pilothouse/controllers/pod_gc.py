"""Removes pods that nobody else will: of nodes that are gone, ended ones beyond a number, deleted ones that never ran.

Everything is looked at together, twenty seconds after something changed that may matter. Source: upstream `pkg/controller/podgc`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import NODES, PODS
from pilothouse.api.meta import Object
from pilothouse.api.views.node import NodeView
from pilothouse.api.views.pod import PodView
from pilothouse.controllers.disruption_target import disrupt
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit.tasks import each

CHECK_S = 20.0
QUARANTINE_S = 40.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
EVERYTHING = "*"
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Actions:
    """The pods to remove, by why; `missing_nodes` are named by pods and not there."""

    orphaned: tuple[Object, ...] = ()
    terminated: tuple[Object, ...] = ()
    out_of_service: tuple[Object, ...] = ()
    unscheduled: tuple[Object, ...] = ()
    missing_nodes: frozenset[str] = frozenset()


def plan(
    pods: Collection[Object], nodes: Mapping[str, Mapping[str, Any]], gone: Collection[str], limit: int
) -> Actions:
    """`gone` are names of nodes known to be gone for good; `limit` is how many ended pods may stay (zero: all)."""
    ended = [pod for pod in pods if PodView(pod).is_terminal]
    surplus = len(ended) - limit if limit > 0 else 0
    deleting = [pod for pod in pods if meta.is_deleting(pod)]
    return Actions(
        orphaned=tuple(pod for pod in pods if PodView(pod).node_name in gone),
        terminated=tuple(sorted(ended, key=_age)[: max(0, surplus)]),
        out_of_service=tuple(pod for pod in deleting if _is_out_of_service(nodes.get(PodView(pod).node_name))),
        unscheduled=tuple(pod for pod in deleting if not PodView(pod).node_name),
        missing_nodes=frozenset(node for pod in pods if (node := PodView(pod).node_name) and node not in nodes),
    )


class PodGarbageCollector(Controller):
    """The control loop; its one key stands for everything."""

    name = "pod-garbage-collector-controller"
    account = "pod-garbage-collector"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._missing_since: dict[str, float] = {}
        self._ended = 0
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        self.follow(self._nodes, self._node_changed)
        self.follow(self._pods, self._pod_changed)

    async def reconcile(self, key: str) -> float | None:
        now = self.clock.monotonic()
        nodes = {meta.name_of(node): node for node in self._nodes.list()}
        limit = self.context.options.terminated_pod_threshold
        missing = plan(self._pods.list(), nodes, (), limit).missing_nodes
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        gone = [name for name, since in self._missing_since.items() if now - since >= QUARANTINE_S]
        gone = [name for name in gone if await self._is_gone(name)]
        await self._act(plan(self._pods.list(), nodes, gone, limit))
        return CHECK_S if self._missing_since else None

    async def _act(self, actions: Actions) -> None:
        async def orphaned(pod: Object) -> None:
            await self._remove(pod, "DeletionByPodGC", "PodGC: node no longer exists")

        async def other(pod: Object) -> None:
            await self._remove(pod, "", "")

        failures = []
        for chosen, remove in (
            (actions.orphaned, orphaned),
            ((*actions.terminated, *actions.out_of_service, *actions.unscheduled), other),
        ):
            results: Sequence[tuple[Object, Any]] = await each(chosen, remove, limit=AT_ONCE)
            failures += [result for _, result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0]

    async def _remove(self, pod: Object, reason: str, message: str) -> None:
        now = self.clock.now()
        await disrupt(self.client, pod, reason, message, now, fail=True, grace_period_s=0)

    async def _is_gone(self, node_name: str) -> bool:
        try:
            await self.client.get(NODES, "", node_name, metadata_only=True)
        except status.NotFound:
            return True
        return False

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or _is_out_of_service(new):
            self.queue.add_after(EVERYTHING, CHECK_S)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        self._ended += (new is not None and PodView(new).is_terminal) - (old is not None and PodView(old).is_terminal)
        limit = self.context.options.terminated_pod_threshold
        if new is None:
            return
        node_name = PodView(new).node_name
        is_lost = bool(node_name) and self._nodes.synced.is_set() and self._nodes.get(node_name) is None
        deleted_nowhere = meta.is_deleting(new) and (not node_name or _is_out_of_service(self._nodes.get(node_name)))
        if is_lost or deleted_nowhere or 0 < limit < self._ended:
            self.queue.add_after(EVERYTHING, CHECK_S)

    async def run(self) -> None:
        self.queue.add_after(EVERYTHING, CHECK_S)
        await super().run()


def _is_out_of_service(node: Mapping[str, Any] | None) -> bool:
    if node is None or NodeView(node).is_ready:
        return False
    return any(taint["key"] == OUT_OF_SERVICE for taint in NodeView(node).taints)


def _age(pod: Object) -> tuple[bool, str]:
    """Evicted pods first, then the oldest."""
    is_evicted = PodView(pod).phase == "Failed" and PodView(pod).status.get("reason") == "Evicted"
    return not is_evicted, pod["metadata"].get("creationTimestamp") or ""
