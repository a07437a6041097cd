"""TaintToleration: taints keep pods away (NoSchedule, NoExecute) or put them off (PreferNoSchedule) unless tolerated.

Nodes with the same taints share the answer: each distinct set of taints is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.api.placement import tolerates, untolerated_taint
from pilothouse.scheduler.columns import Mask
from pilothouse.scheduler.framework import Cluster, ClusterEvent, Rejection, Scores, normalized
from pilothouse.scheduler.pod import PodInfo

HARD_EFFECTS = ("NoSchedule", "NoExecute")


class TaintToleration:
    name = "TaintToleration"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        sets = cluster.columns.taint_sets
        refused = [untolerated_taint(taints, pod.tolerations, HARD_EFFECTS) is not None for taints in sets]
        if any(refused):
            yield Rejection(np.array(refused)[cluster.columns.taint_set], "node(s) had untolerated taint(s)")

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        soft = [t for t in pod.tolerations if t.get("effect", "") in ("", "PreferNoSchedule")]
        counts = [
            sum(
                taint["effect"] == "PreferNoSchedule" and not any(tolerates(t, taint) for t in soft) for taint in taints
            )
            for taints in cluster.columns.taint_sets
        ]
        if not any(counts):
            return None
        return normalized(np.array(counts, np.float64)[cluster.columns.taint_set], feasible, reverse=True)
