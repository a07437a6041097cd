"""Events of watches, by kind: how many went to clients, and how large they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.api.gvr import GVR
from pilothouse.kit.metrics import Family, Histogram, add_histogram

_SMALLEST_BITS = 10
_LIST_BUCKETS_S = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
_BOUNDS_BYTES = tuple(1024.0 * 2**power for power in range(8))


class SentEvents:
    """Of one kind at one version. An event costs an addition; its size is counted by its number of binary digits."""

    __slots__ = ("_by_bits", "_size_bytes", "lists")

    def __init__(self) -> None:
        self._by_bits = [0] * 65
        self._size_bytes = 0
        self.lists: dict[str, Histogram] = {}
        """How long it took until watches that begin with all there is had sent that, by scope."""

    def listed(self, scope: str, seconds: float) -> None:
        """A watch that begins with all there is has sent that."""
        found = self.lists.get(scope)
        if found is None:
            found = self.lists[scope] = Histogram(_LIST_BUCKETS_S)
        found.observe(seconds)

    def add(self, lines: Sequence[bytes], size_bytes: int) -> None:
        """`lines` have been sent, which are `size_bytes` together."""
        by_bits = self._by_bits
        for line in lines:
            by_bits[(len(line) - 1).bit_length()] += 1
        self._size_bytes += size_bytes

    @property
    def count(self) -> int:
        return sum(self._by_bits)

    def add_to(self, counts: Family, sizes: Family, labels: dict[str, str]) -> None:
        counts.add(self.count, labels)
        first = _SMALLEST_BITS + 1
        last = _SMALLEST_BITS + len(_BOUNDS_BYTES)
        buckets = [sum(self._by_bits[:first]), *self._by_bits[first:last], sum(self._by_bits[last:])]
        add_histogram(sizes, _BOUNDS_BYTES, buckets, self._size_bytes, labels)


def families(kinds: Iterable[tuple[GVR, SentEvents]]) -> Iterable[Family]:
    counts = Family("apiserver_watch_events_total", "counter", "[ALPHA] Number of events sent in watch clients")
    sizes = Family("apiserver_watch_events_sizes", "histogram", "[ALPHA] Watch event size distribution in bytes")
    lists = Family(
        "apiserver_watch_list_duration_seconds",
        "histogram",
        "[BETA] Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.",
    )
    for gvr, sent in kinds:
        labels = {"group": gvr.group, "resource": gvr.plural, "version": gvr.version}
        if sent.count:
            sent.add_to(counts, sizes, labels)
        for scope, found in sent.lists.items():
            found.add_to(lists, {**labels, "scope": scope})
    return counts, sizes, lists
