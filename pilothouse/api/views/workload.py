"""Typed reading of what makes pods from a template; Deployments, ReplicaSets and Jobs add what is theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.view import View


class WorkloadView(View):
    """An object with a template for pods."""

    __slots__ = ()

    @property
    def selector(self) -> Mapping[str, Any] | None:
        return self.spec.get("selector")

    @property
    def template(self) -> Mapping[str, Any]:
        template: Mapping[str, Any] = self.spec.get("template") or {}
        return template

    @property
    def conditions(self) -> Sequence[Mapping[str, Any]]:
        return self.status.get("conditions") or ()


class ReplicatedView(WorkloadView):
    """An object that keeps a number of pods of one template."""

    __slots__ = ()

    @property
    def replicas(self) -> int:
        return int(self.spec.get("replicas", 1))

    @property
    def min_ready_s(self) -> int:
        return int(self.spec.get("minReadySeconds", 0))

    @property
    def observed_generation(self) -> int:
        return int(self.status.get("observedGeneration", 0))
