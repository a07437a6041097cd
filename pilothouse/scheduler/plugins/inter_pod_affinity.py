"""InterPodAffinity: pods that want to be, or must not be, in the same topology domain as others.

A term's matching pods are a tally by node; summed over the domains of the term's topology key it says, for every node at once, how
many matching pods share the node's domain.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.columns import Columns, Counts, Mask
from pilothouse.scheduler.framework import MAX_SCORE, Cluster, ClusterEvent, Rejection, Scores
from pilothouse.scheduler.pod import AffinityTerm, PodInfo
from pilothouse.scheduler.tally import Bond, Query

HARD_AFFINITY_WEIGHT = 1
"""What a running pod's required affinity for the incoming one adds to the score (upstream's hardPodAffinityWeight)."""


class InterPodAffinity:
    name = "InterPodAffinity"
    wakes_on = frozenset(
        {ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED, ClusterEvent.POD_PLACED, ClusterEvent.POD_GONE}
    )

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        columns = cluster.columns
        if pod.required_affinity:
            yield Rejection(~_satisfied(pod, cluster), "node(s) didn't match pod affinity rules")
        if pod.required_anti_affinity:
            near = np.zeros(columns.capacity, bool)
            for term in pod.required_anti_affinity:
                near |= _in_domain(columns, term.topology_key, _matching(term, cluster)) > 0
            yield Rejection(near, "node(s) didn't match pod anti-affinity rules")
        held = columns.tallies.held(Bond.REQUIRED_ANTI_AFFINITY, lambda term: _concerns(term, pod, cluster))
        if held:
            near = np.zeros(columns.capacity, bool)
            for term, counts in held:
                near |= _in_domain(columns, term.topology_key, counts) > 0
            yield Rejection(near, "node(s) didn't satisfy existing pods anti-affinity rules")

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        columns = cluster.columns
        total = np.zeros(columns.capacity)
        has_opinion = False
        for terms, sign in ((pod.preferred_affinity, 1), (pod.preferred_anti_affinity, -1)):
            for term in terms:
                total += sign * term.weight * _in_domain(columns, term.topology_key, _matching(term, cluster))
                has_opinion = True
        for bond, sign in (
            (Bond.PREFERRED_AFFINITY, 1),
            (Bond.PREFERRED_ANTI_AFFINITY, -1),
            (Bond.REQUIRED_AFFINITY, HARD_AFFINITY_WEIGHT),
        ):
            for term, counts in columns.tallies.held(bond, lambda term: _concerns(term, pod, cluster)):
                total += sign * (term.weight or 1) * _in_domain(columns, term.topology_key, counts)
                has_opinion = True
        if not has_opinion:
            return None
        lowest, highest = total[feasible].min(), total[feasible].max()
        if highest == lowest:
            return None
        scaled: Scores = np.floor(MAX_SCORE * (total - lowest) / (highest - lowest))
        return scaled


def _satisfied(pod: PodInfo, cluster: Cluster) -> Mask:
    """The nodes whose domains hold a match for every required term.

    The first pod of a group that has affinity for itself may go anywhere that has the labels: otherwise none ever could.
    """
    columns = cluster.columns
    labelled = np.ones(columns.capacity, bool)
    near = np.ones(columns.capacity, bool)
    anywhere = False
    for term in pod.required_affinity:
        counts = _matching(term, cluster)
        anywhere = anywhere or bool(counts.any())
        labelled &= columns.domains(term.topology_key) != 0
        near &= _in_domain(columns, term.topology_key, counts) > 0
    if not anywhere and all(_concerns(term, pod, cluster) for term in pod.required_affinity):
        return labelled
    return labelled & near


def _concerns(term: AffinityTerm, pod: PodInfo, cluster: Cluster) -> bool:
    """Whether the term speaks of `pod`."""
    return term.selector.matches(pod.labels) and pod.namespace in cluster.namespaces_of(term)


def _matching(term: AffinityTerm, cluster: Cluster) -> Counts:
    return cluster.columns.matching(Query(cluster.namespaces_of(term), term.selector))


def _in_domain(columns: Columns, topology_key: str, counts: Counts) -> Counts:
    """For each node the sum of `counts` over its domain; 0 for nodes without the label."""
    domains = columns.domains(topology_key)
    sums = np.bincount(domains, weights=counts).astype(np.int64)
    sums[0] = 0
    summed: Counts = sums[domains]
    return summed
