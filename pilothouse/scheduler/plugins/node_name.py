"""NodeName: a pod that names its node runs there or nowhere."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.scheduler.framework import Cluster, ClusterEvent, Rejection
from pilothouse.scheduler.pod import PodInfo


class NodeName:
    name = "NodeName"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        if pod.node_name:
            others = cluster.columns.alive.copy()
            row = cluster.columns.rows.get(pod.node_name)
            if row is not None:
                others[row] = False
            yield Rejection(others, "node(s) didn't match the requested node name")
