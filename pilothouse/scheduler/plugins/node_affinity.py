"""NodeAffinity: nodeSelector, required and preferred node affinity, over columns of interned labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pilothouse.api.placement import requirement_matches
from pilothouse.scheduler.columns import Columns, Mask
from pilothouse.scheduler.framework import Cluster, ClusterEvent, Rejection, Scores, normalized
from pilothouse.scheduler.pod import PodInfo


class NodeAffinity:
    name = "NodeAffinity"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        matching = matching_nodes(pod, cluster.columns)
        if matching is not None:
            yield Rejection(~matching, "node(s) didn't match Pod's node affinity/selector")

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        preferred = _node_affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution")
        if not preferred:
            return None
        scores = np.zeros(cluster.columns.capacity)
        for item in preferred:
            scores += item["weight"] * _term(item["preference"], cluster.columns)
        return normalized(scores, feasible)


def matching_nodes(pod: PodInfo, columns: Columns) -> Mask | None:
    """The nodes that satisfy nodeSelector and required affinity; None if the pod has neither."""
    selector: Mapping[str, str] = pod.spec.get("nodeSelector") or {}
    required = _node_affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not selector and required is None:
        return None
    matching = columns.alive.copy()
    for key, value in selector.items():
        # A value that no node has was never interned; -1 matches nothing.
        matching &= columns.domains(key) == columns.values.get(value, -1)
    if required is not None:
        any_term = np.zeros(columns.capacity, bool)
        for term in required.get("nodeSelectorTerms") or ():
            any_term |= _term(term, columns)
        matching &= any_term
    return matching


def _node_affinity(pod: PodInfo) -> Mapping[str, Any]:
    affinity: Mapping[str, Any] = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    return affinity


def _term(term: Mapping[str, Any], columns: Columns) -> Mask:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return np.zeros(columns.capacity, bool)
    matching = columns.alive.copy()
    for requirement in expressions:
        matching &= _requirement(requirement, columns)
    for requirement in fields:
        named = np.zeros(columns.capacity, bool)
        for name, row in columns.rows.items():
            named[row] = requirement["key"] == "metadata.name" and requirement_matches(requirement, name)
        matching &= named
    return matching


def _requirement(requirement: Mapping[str, Any], columns: Columns) -> Mask:
    """One requirement over all nodes: each distinct value of the label is looked at once."""
    domains = columns.domains(requirement["key"])
    operator = requirement["operator"]
    present: Mask = domains != 0
    if operator == "Exists":
        return present
    if operator == "DoesNotExist":
        return ~present
    if operator in ("In", "NotIn"):
        wanted = [columns.values.get(value, -1) for value in requirement.get("values") or ()]
        found: Mask = np.isin(domains, wanted)
        return found if operator == "In" else ~found
    texts = {number: text for text, number in columns.values.items()}
    distinct, inverse = np.unique(domains, return_inverse=True)
    answers = np.array([requirement_matches(requirement, texts.get(int(number))) for number in distinct], bool)
    matching: Mask = answers[inverse]
    return matching
