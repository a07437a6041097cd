"""Typed reading of Jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.views.workload import WorkloadView

CONTROLLER = "kubernetes.io/job-controller"


class JobView(WorkloadView):
    """A Job, with its defaults set."""

    __slots__ = ()

    @property
    def parallelism(self) -> int:
        return int(self.spec.get("parallelism", 1))

    @property
    def completions(self) -> int | None:
        """How many pods must succeed; None: any one, and the others end by themselves."""
        count = self.spec.get("completions")
        return None if count is None else int(count)

    @property
    def is_indexed(self) -> bool:
        return self.spec.get("completionMode") == "Indexed"

    @property
    def backoff_limit(self) -> int:
        return int(self.spec.get("backoffLimit", 6))

    @property
    def backoff_limit_per_index(self) -> int | None:
        limit = self.spec.get("backoffLimitPerIndex")
        return None if limit is None else int(limit)

    @property
    def max_failed_indexes(self) -> int | None:
        limit = self.spec.get("maxFailedIndexes")
        return None if limit is None else int(limit)

    @property
    def active_deadline_s(self) -> int | None:
        deadline = self.spec.get("activeDeadlineSeconds")
        return None if deadline is None else int(deadline)

    @property
    def ttl_s(self) -> int | None:
        """How long it stays after it has finished; None: until somebody deletes it."""
        ttl = self.spec.get("ttlSecondsAfterFinished")
        return None if ttl is None else int(ttl)

    @property
    def pod_failure_rules(self) -> Sequence[Mapping[str, Any]] | None:
        """The rules of its podFailurePolicy; None without one."""
        policy = self.spec.get("podFailurePolicy")
        return None if policy is None else policy.get("rules") or ()

    @property
    def replaces_only_failed(self) -> bool:
        """Whether a pod that is being deleted is replaced only when it has ended."""
        return self.spec.get("podReplacementPolicy") == "Failed" or self.pod_failure_rules is not None

    @property
    def is_suspended(self) -> bool:
        return bool(self.spec.get("suspend"))

    @property
    def is_managed_elsewhere(self) -> bool:
        """Whether another controller than the built-in one looks after it (KEP-4368)."""
        return bool(self.spec.get("managedBy", CONTROLLER) != CONTROLLER)

    @property
    def finished(self) -> Mapping[str, Any] | None:
        """The condition, Complete or Failed, that says that it has finished; None while it has not."""
        return next(
            (one for one in self.conditions if one["type"] in ("Complete", "Failed") and one["status"] == "True"), None
        )

    @property
    def start_time(self) -> float | None:
        start = self.status.get("startTime")
        return meta.parse_time(start) if start else None
