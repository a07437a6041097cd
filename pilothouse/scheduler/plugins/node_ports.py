"""NodePorts: the host ports that a pod wants must be free."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.api.placement import ports_conflict
from pilothouse.scheduler.framework import Cluster, ClusterEvent, Rejection
from pilothouse.scheduler.pod import PodInfo


class NodePorts:
    name = "NodePorts"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED, ClusterEvent.POD_GONE})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        if pod.ports:
            taken = np.zeros(cluster.columns.capacity, bool)
            for row, used in cluster.columns.ports.items():
                taken[row] = ports_conflict(pod.ports, used)
            yield Rejection(taken, "node(s) didn't have free ports for the requested pod ports")
