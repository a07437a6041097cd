"""Typed reading of ReplicaSets; ReplicationControllers have the same fields but for the selector."""

from __future__ import annotations

from pilothouse.api.views.workload import ReplicatedView


class ReplicaSetView(ReplicatedView):
    """A ReplicaSet."""

    __slots__ = ()

    @property
    def status_replicas(self) -> int:
        return int(self.status.get("replicas", 0))

    @property
    def ready_replicas(self) -> int:
        return int(self.status.get("readyReplicas", 0))

    @property
    def available_replicas(self) -> int:
        return int(self.status.get("availableReplicas", 0))

    @property
    def terminating_replicas(self) -> int | None:
        """How many of its pods are going; None where the status does not say."""
        count = self.status.get("terminatingReplicas")
        return None if count is None else int(count)
