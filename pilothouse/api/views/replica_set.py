"""Typed reading of ReplicaSets; ReplicationControllers have the same fields but for the selector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.view import View


class ReplicaSetView(View):
    """A ReplicaSet."""

    __slots__ = ()

    @property
    def replicas(self) -> int:
        return int(self.spec.get("replicas", 1))

    @property
    def selector(self) -> Mapping[str, Any] | None:
        return self.spec.get("selector")

    @property
    def template(self) -> Mapping[str, Any]:
        template: Mapping[str, Any] = self.spec.get("template") or {}
        return template

    @property
    def min_ready_s(self) -> int:
        return int(self.spec.get("minReadySeconds", 0))

    @property
    def conditions(self) -> Sequence[Mapping[str, Any]]:
        return self.status.get("conditions") or ()

    @property
    def observed_generation(self) -> int:
        return int(self.status.get("observedGeneration", 0))

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
