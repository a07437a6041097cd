"""PodTopologySpread: keeps matching pods even over the domains of a topology (KEP-895).

Pods without constraints of their own get upstream's defaults: softly over hosts (skew 3) and zones (skew 5), among the pods of their
Services and controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pilothouse.api.placement import untolerated_taint
from pilothouse.api.selector import LabelSelector
from pilothouse.scheduler.columns import Counts, Mask
from pilothouse.scheduler.framework import MAX_SCORE, Cluster, ClusterEvent, Rejection, Scores
from pilothouse.scheduler.plugins.node_affinity import matching_nodes
from pilothouse.scheduler.plugins.taint_toleration import HARD_EFFECTS
from pilothouse.scheduler.pod import PodInfo, SpreadConstraint
from pilothouse.scheduler.tally import Query

HOSTNAME = "kubernetes.io/hostname"
DEFAULT_SKEWS = ((HOSTNAME, 3), ("topology.kubernetes.io/zone", 5))
NOT_EVEN = "node(s) didn't match pod topology spread constraints"


class PodTopologySpread:
    """`siblings` gives the selector of the pods that a pod without constraints is spread among, or None."""

    name = "PodTopologySpread"
    wakes_on = frozenset(
        {ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED, ClusterEvent.POD_PLACED, ClusterEvent.POD_GONE}
    )

    def __init__(self, siblings: Callable[[PodInfo], LabelSelector | None] = lambda pod: None) -> None:
        self._siblings = siblings

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        hard = [constraint for constraint in pod.spread if constraint.is_hard]
        if not hard:
            return
        columns = cluster.columns
        labelled = columns.alive.copy()
        for constraint in hard:
            labelled &= columns.domains(constraint.topology_key) != 0
        yield Rejection(~labelled, f"{NOT_EVEN} (missing required label)")
        for constraint in hard:
            domains = columns.domains(constraint.topology_key)
            eligible = _eligible(pod, constraint, cluster) & labelled
            counts = np.where(eligible, _matching(pod, constraint, cluster), 0)
            sums = np.bincount(domains, weights=counts).astype(np.int64)
            present = np.unique(domains[eligible])
            lowest = int(sums[present].min()) if len(present) >= max(constraint.min_domains, 1) else 0
            itself = int(constraint.selector.matches(pod.labels))
            yield Rejection(sums[domains] + itself - lowest > constraint.max_skew, NOT_EVEN)

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        own = bool(pod.spread)
        soft = [constraint for constraint in pod.spread if not constraint.is_hard] if own else self._defaults(pod)
        if not soft:
            return None
        columns = cluster.columns
        labelled = feasible.copy()
        if own:
            for constraint in soft:
                labelled &= columns.domains(constraint.topology_key) != 0
        if not labelled.any():
            return None
        total = np.zeros(columns.capacity)
        for constraint in soft:
            domains = columns.domains(constraint.topology_key)
            counts = _matching(pod, constraint, cluster)
            if constraint.topology_key == HOSTNAME:
                size, near = int(labelled.sum()), counts
            else:
                eligible = _eligible(pod, constraint, cluster)
                sums = np.bincount(domains, weights=np.where(eligible, counts, 0)).astype(np.int64)
                size, near = len(np.unique(domains[labelled & (domains != 0)])), sums[domains]
            weighted = near * np.log(size + 2) + (constraint.max_skew - 1)
            total += np.where(domains != 0, weighted, 0)
        rounded = np.round(total)
        lowest, highest = rounded[labelled].min(), rounded[labelled].max()
        if highest == 0:
            return np.where(labelled, MAX_SCORE, 0.0)
        return np.where(labelled, np.floor(MAX_SCORE * (highest + lowest - rounded) / highest), 0.0)

    def _defaults(self, pod: PodInfo) -> Sequence[SpreadConstraint]:
        selector = self._siblings(pod)
        if selector is None:
            return ()
        return [SpreadConstraint(key, skew, 1, selector, False, True, False) for key, skew in DEFAULT_SKEWS]


def _matching(pod: PodInfo, constraint: SpreadConstraint, cluster: Cluster) -> Counts:
    return cluster.columns.matching(Query(frozenset({pod.namespace}), constraint.selector, with_deleting=False))


def _eligible(pod: PodInfo, constraint: SpreadConstraint, cluster: Cluster) -> Mask:
    """The nodes that count for a constraint."""
    columns = cluster.columns
    eligible = columns.alive.copy()
    if constraint.honors_affinity:
        matching = matching_nodes(pod, columns)
        if matching is not None:
            eligible &= matching
    if constraint.honors_taints:
        open_sets = [untolerated_taint(taints, pod.tolerations, HARD_EFFECTS) is None for taints in columns.taint_sets]
        eligible &= np.array(open_sets, bool)[columns.taint_set]
    return eligible
