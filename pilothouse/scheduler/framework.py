"""The contract of scheduler plugins.

A filter names the nodes that it rejects and why; a score rates all nodes from 0 to 100. Both see a pod and the whole cluster, work on
all rows at once, and change nothing. Names, order, weights and texts are upstream's (`pkg/scheduler/framework/plugins`); the order is
the table in `plugins/table.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.meta import Object
from pilothouse.scheduler.columns import Columns, Mask
from pilothouse.scheduler.pod import AffinityTerm, PodInfo

Scores = NDArray[np.float64]
MAX_SCORE = 100.0


class ClusterEvent(Enum):
    """Something that may make an unschedulable pod fit."""

    NODE_ADDED = "a node was added"
    NODE_CHANGED = "a node's labels, taints or allocatable resources changed"
    POD_PLACED = "a pod was bound"
    POD_GONE = "a pod ended or was deleted"
    CLAIM_CHANGED = "a PersistentVolumeClaim or PersistentVolume changed"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What plugins see: nodes and pods in columns, namespaces' labels, and claims and volumes by key."""

    columns: Columns
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    claim: Callable[[str], Object | None] = lambda key: None
    volume: Callable[[str], Object | None] = lambda name: None

    def namespaces_of(self, term: AffinityTerm) -> frozenset[str]:
        """The namespaces whose pods a term speaks of."""
        if term.namespace_selector is None:
            return term.namespaces
        selector = term.namespace_selector
        return term.namespaces | {name for name, labels in self.namespaces.items() if selector.matches(labels)}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Nodes that a pod may not run on. With `is_final`, no node can take it and `reason` stands for all of them."""

    rows: Mask
    reason: str
    is_final: bool = False


class Plugin(Protocol):
    @property
    def name(self) -> str: ...


class Filter(Plugin, Protocol):
    wakes_on: frozenset[ClusterEvent]
    """After which events a pod that this filter rejected is worth another try."""

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]: ...


class Score(Plugin, Protocol):
    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        """From 0 to MAX_SCORE for each row, of which only `feasible` ones count; None if it has no opinion on this pod."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The plugins of a scheduler, in order, with the weight of each score."""

    filters: Sequence[Filter]
    scores: Sequence[tuple[Score, float]]


def normalized(scores: Scores, feasible: Mask, *, reverse: bool = False) -> Scores:
    """Scaled so that the best feasible node has MAX_SCORE; `reverse` turns high into low."""
    highest = scores[feasible].max(initial=0.0)
    if highest <= 0:
        return np.full_like(scores, MAX_SCORE) if reverse else scores
    scaled: Scores = scores * (MAX_SCORE / highest)
    return MAX_SCORE - scaled if reverse else scaled
