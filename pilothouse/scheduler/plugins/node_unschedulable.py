"""NodeUnschedulable: cordoned nodes take only pods that tolerate their taint."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.placement import tolerates
from pilothouse.scheduler.framework import Cluster, ClusterEvent, Rejection
from pilothouse.scheduler.pod import PodInfo

TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable:
    name = "NodeUnschedulable"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        cordoned = cluster.columns.unschedulable
        if cordoned.any() and not any(tolerates(toleration, TAINT) for toleration in pod.tolerations):
            yield Rejection(cordoned, "node(s) were unschedulable")
