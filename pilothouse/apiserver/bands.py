"""The two bands of a range of addresses or ports: the low one is left, as long as can be, to those who choose their own.

Source: KEP-3070, `calculateRangeOffset` of `ipallocator` and `portallocator`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator


def static_band(size: int, step: int, most: int) -> int:
    """How many at the low end of a range of `size` are left to those who choose: one in `step`, at least 16 and at most `most`."""
    return 0 if size <= 16 else min(max(16, size // step), most)


def candidates(whole: range, band: int, rng: random.Random) -> Iterator[int]:
    """All of a range, each once: what is above the band first, both parts from somewhere in them on."""
    for part in (whole[band:], whole[:band]):
        if part:
            start = rng.randint(part[0], part[-1])
            yield from range(start, part[-1] + 1)
            yield from range(part[0], start)
