"""Events of watches, by kind: how many went to clients, and how large they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.api.gvr import GVR
from pilothouse.kit.metrics import Family, add_histogram

_SMALLEST_BITS = 10
_BOUNDS_BYTES = tuple(1024.0 * 2**power for power in range(8))


class SentEvents:
    """Of one kind at one version. An event costs an addition; its size is counted by its number of binary digits."""

    __slots__ = ("_by_bits", "_size_bytes")

    def __init__(self) -> None:
        self._by_bits = [0] * 65
        self._size_bytes = 0

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
    for gvr, sent in kinds:
        if sent.count:
            labels = {"group": gvr.group, "resource": gvr.plural, "version": gvr.version}
            sent.add_to(counts, sizes, labels)
    return counts, sizes
