"""NodeResourcesFit and NodeResourcesBalancedAllocation: room on the node, and keeping what is left in proportion."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.columns import CPU, MEMORY, Columns, Counts, Mask
from pilothouse.scheduler.framework import MAX_SCORE, Cluster, ClusterEvent, Rejection, Scores
from pilothouse.scheduler.pod import PodInfo


class NodeResourcesFit:
    """Requests must fit into what is allocatable; of the nodes where they do, the least used one is best (LeastAllocated)."""

    name = "NodeResourcesFit"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED, ClusterEvent.POD_GONE})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        columns = cluster.columns
        yield Rejection(columns.pod_count + 1 > columns.max_pods, "Too many pods")
        for name, amount in pod.requests.items():
            if amount <= 0:
                continue
            free: Counts | int = 0
            if name in columns.allocatable:
                free = columns.allocatable[name] - columns.requested[name]
            lacking = np.broadcast_to(np.asarray(amount > free), (columns.capacity,))
            yield Rejection(lacking, f"Insufficient {name}")

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        columns = cluster.columns
        cpu = _free_share(columns.scored_cpu + pod.scored_cpu_milli, columns.allocatable[CPU])
        memory = _free_share(columns.scored_memory + pod.scored_memory_bytes, columns.allocatable[MEMORY])
        return np.floor((cpu + memory) / 2)


class NodeResourcesBalancedAllocation:
    """Prefers the node on which the used shares of CPU and memory come closest to each other by adding the pod."""

    name = "NodeResourcesBalancedAllocation"

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        if not pod.requests.get(CPU) and not pod.requests.get(MEMORY):
            return None
        after = _balance(cluster.columns, pod.requests.get(CPU, 0), pod.requests.get(MEMORY, 0))
        before = _balance(cluster.columns, 0, 0)
        return np.floor(MAX_SCORE / 2 + (MAX_SCORE / 2 + after - before) / 2)


def _free_share(used: Counts, capacity: Counts) -> Scores:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where((capacity > 0) & (used <= capacity), (capacity - used) * MAX_SCORE / capacity, 0.0)
    return np.floor(share)


def _balance(columns: Columns, cpu_milli: int, memory_bytes: int) -> Scores:
    shares = []
    for name, more in ((CPU, cpu_milli), (MEMORY, memory_bytes)):
        capacity = columns.allocatable[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(capacity > 0, (columns.requested[name] + more) / capacity, 1.0)
        shares.append(np.minimum(share, 1.0))
    # The standard deviation of two numbers is half of their difference.
    balance: Scores = (1 - np.abs(shares[0] - shares[1]) / 2) * MAX_SCORE
    return balance
