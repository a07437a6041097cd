"""One scheduling decision: a pod and the cluster in, a node or the reasons against all of them out. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pilothouse.scheduler.framework import Cluster, Profile
from pilothouse.scheduler.pod import PodInfo


@dataclass(frozen=True, slots=True)
class Placed:
    """The node to run on."""

    node_name: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node will do. `rejected_by` names the filters that said so; `reasons` counts nodes."""

    nodes: int
    reasons: Mapping[str, int]
    rejected_by: frozenset[str]
    final_reason: str = ""

    @property
    def message(self) -> str:
        """As upstream words it: `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. …`."""
        text = f"0/{self.nodes} nodes are available:"
        if self.nodes == 0:
            return "no nodes available to schedule pods"
        if self.final_reason:
            return f"{text} {self.final_reason}."
        counted = sorted(f"{count} {reason}" for reason, count in self.reasons.items())
        return f"{text} {', '.join(counted)}."


def schedule(pod: PodInfo, cluster: Cluster, profile: Profile, rng: random.Random) -> Placed | Unschedulable:
    """The best node for a pod; among equals a random one."""
    columns = cluster.columns
    feasible = columns.alive.copy()
    reasons: Counter[str] = Counter()
    rejected_by: set[str] = set()
    for plugin in profile.filters:
        remaining = feasible
        for rejection in plugin.filter(pod, cluster):
            if rejection.is_final:
                return Unschedulable(len(columns), {}, frozenset({plugin.name}), rejection.reason)
            hit = rejection.rows & feasible
            count = int(np.count_nonzero(hit))
            if count:
                reasons[rejection.reason] += count
                rejected_by.add(plugin.name)
                remaining = remaining & ~rejection.rows
        feasible = remaining
        if not feasible.any():
            return Unschedulable(len(columns), reasons, frozenset(rejected_by))
    candidates = np.flatnonzero(feasible)
    if len(candidates) > 1:
        total = np.zeros(columns.capacity)
        for score, weight in profile.scores:
            scores = score.score(pod, cluster, feasible)
            if scores is not None:
                total += weight * scores
        best = total[candidates]
        candidates = candidates[best == best.max()]
    return Placed(columns.names[int(candidates[rng.randrange(len(candidates))])])
