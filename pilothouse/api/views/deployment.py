"""Typed reading of Deployments."""

from __future__ import annotations

from math import ceil

from pilothouse.api.views.workload import ReplicatedView

NO_LIMIT = 2**31 - 1
"""As a deadline or a history limit: none."""


class DeploymentView(ReplicatedView):
    """A Deployment."""

    __slots__ = ()

    @property
    def strategy(self) -> str:
        """`RollingUpdate` or `Recreate`."""
        return str((self.spec.get("strategy") or {}).get("type", "RollingUpdate"))

    @property
    def is_rolling(self) -> bool:
        return self.strategy == "RollingUpdate"

    @property
    def paused(self) -> bool:
        return bool(self.spec.get("paused"))

    @property
    def progress_deadline_s(self) -> int | None:
        """None: progress is not judged."""
        deadline = self.spec.get("progressDeadlineSeconds")
        return None if deadline is None or deadline == NO_LIMIT else int(deadline)

    @property
    def revision_history_limit(self) -> int | None:
        limit = self.spec.get("revisionHistoryLimit")
        return None if limit is None or limit == NO_LIMIT else int(limit)

    @property
    def max_surge(self) -> int:
        """How many pods there may be beyond `replicas`; percentages round up."""
        return self._fenceposts[0] if self.is_rolling else 0

    @property
    def max_unavailable(self) -> int:
        """How many of `replicas` may be missing; percentages round down. At least one if nothing may surge."""
        if not self.is_rolling or self.replicas == 0:
            return 0
        return min(self._fenceposts[1], self.replicas)

    @property
    def max_surge_allowed(self) -> int:
        """`maxSurge` as the user gave it."""
        rolling = (self.spec.get("strategy") or {}).get("rollingUpdate") or {}
        return scaled(rolling.get("maxSurge", 0), self.replicas, round_up=True)

    @property
    def _fenceposts(self) -> tuple[int, int]:
        rolling = (self.spec.get("strategy") or {}).get("rollingUpdate") or {}
        surge = scaled(rolling.get("maxSurge", 0), self.replicas, round_up=True)
        unavailable = scaled(rolling.get("maxUnavailable", 0), self.replicas, round_up=False)
        return (surge, 1) if surge == 0 and unavailable == 0 else (surge, unavailable)

    @property
    def collision_count(self) -> int | None:
        count = self.status.get("collisionCount")
        return None if count is None else int(count)


def scaled(value: int | str, total: int, *, round_up: bool) -> int:
    """An IntOrString as a number: a percentage is of `total`. Raises ValueError."""
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"not an integer or a percentage: {value!r}")
    product = int(value[:-1]) * total
    return ceil(product / 100) if round_up else product // 100
