"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Delays that grow from `base_s` by `factor` up to `max_s`; each is lengthened by up to `jitter` times itself."""

    base_s: float
    max_s: float
    factor: float = 2.0
    jitter: float = 0.0

    def delay_s(self, failures: int) -> float:
        """The delay after that many failures in a row, one or more, before jitter."""
        # The exponent is bounded so that a very long series of failures does not overflow a float.
        return min(self.max_s, self.base_s * self.factor ** min(failures - 1, 64))


class Backoff:
    """One series of failures under a policy."""

    def __init__(self, policy: BackoffPolicy, rng: random.Random) -> None:
        self.policy = policy
        self._rng = rng
        self.failures = 0

    def next(self) -> float:
        """Count a failure and return the seconds to wait after it."""
        self.failures += 1
        delay = self.policy.delay_s(self.failures)
        return delay * (1 + self.policy.jitter * self._rng.random())

    def reset(self) -> None:
        """Forget the failures: something worked."""
        self.failures = 0
