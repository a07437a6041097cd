"""How many pods that match a selector run on each node, kept up to date pod by pod.

Inter-pod affinity and topology spread ask this for few distinct selectors and many pods. A tally is made, by one pass over all pods, when
a selector is first asked for; from then on each pod that comes or goes changes one number. Summing a tally over the domains of a
topology is one `bincount`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.selector import LabelSelector
from pilothouse.scheduler.pod import AffinityTerm, PodInfo

Counts = NDArray[np.int64]
MAX_TALLIES = 512


@dataclass(frozen=True, slots=True)
class Query:
    """The pods of `namespaces` whose labels match `selector`. Pods that are being deleted count only if `with_deleting`."""

    namespaces: frozenset[str]
    selector: LabelSelector
    with_deleting: bool = True

    def matches(self, pod: PodInfo) -> bool:
        return (
            pod.namespace in self.namespaces
            and (self.with_deleting or "deletionTimestamp" not in pod.obj["metadata"])
            and self.selector.matches(pod.labels)
        )


class Bond(Enum):
    """A kind of affinity term that running pods hold against pods that come."""

    REQUIRED_ANTI_AFFINITY = "required anti-affinity"
    REQUIRED_AFFINITY = "required affinity"
    PREFERRED_AFFINITY = "preferred affinity"
    PREFERRED_ANTI_AFFINITY = "preferred anti-affinity"


class Tallies:
    """Counts by row of a node, for each query asked and each distinct term that running pods hold."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tallies: dict[Query, Counts] = {}
        self._held: dict[tuple[Bond, AffinityTerm], Counts] = {}

    def of(self, query: Query, pods: Iterable[tuple[PodInfo, int]]) -> Counts:
        """The number of matching pods on each row. `pods` are all that run, with their rows; read only for a new query."""
        counts = self._tallies.get(query)
        if counts is None:
            if len(self._tallies) >= MAX_TALLIES:
                self._tallies.pop(next(iter(self._tallies)))
            counts = np.zeros(self._capacity, np.int64)
            for pod, row in pods:
                if query.matches(pod):
                    counts[row] += 1
            self._tallies[query] = counts
        return counts

    def held(self, bond: Bond, matches: Callable[[AffinityTerm], bool]) -> list[tuple[AffinityTerm, Counts]]:
        """The distinct terms of a kind that running pods hold and that `matches`, with how many pods on each row hold them."""
        return [(term, counts) for (kind, term), counts in self._held.items() if kind is bond and matches(term)]

    def count(self, pod: PodInfo, row: int, sign: int) -> None:
        for query, counts in self._tallies.items():
            if query.matches(pod):
                counts[row] += sign
        for bond, terms in (
            (Bond.REQUIRED_ANTI_AFFINITY, pod.required_anti_affinity),
            (Bond.REQUIRED_AFFINITY, pod.required_affinity),
            (Bond.PREFERRED_AFFINITY, pod.preferred_affinity),
            (Bond.PREFERRED_ANTI_AFFINITY, pod.preferred_anti_affinity),
        ):
            for term in terms:
                self._count_held((bond, term), row, sign)

    def _count_held(self, key: tuple[Bond, AffinityTerm], row: int, sign: int) -> None:
        counts = self._held.get(key)
        if counts is None:
            counts = self._held[key] = np.zeros(self._capacity, np.int64)
        counts[row] += sign
        if sign < 0 and not counts.any():
            del self._held[key]

    def grow(self, capacity: int) -> None:
        self._capacity = capacity
        for tallies in (self._tallies, self._held):
            for key, counts in tallies.items():
                larger = np.zeros(capacity, np.int64)
                larger[: len(counts)] = counts
                tallies[key] = larger  # type: ignore[index]
