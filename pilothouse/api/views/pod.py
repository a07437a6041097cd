"""Typed reading of Pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.view import View


class PodView(View):
    """A Pod."""

    __slots__ = ()

    @property
    def node_name(self) -> str:
        return str(self.spec.get("nodeName", ""))

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    @property
    def is_terminal(self) -> bool:
        """Whether all its containers have ended for good: phase Succeeded or Failed."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_ready(self) -> bool:
        return meta.is_condition_true(self.status.get("conditions"), "Ready")

    @property
    def containers(self) -> Sequence[Mapping[str, Any]]:
        return self.spec.get("containers") or ()

    @property
    def init_containers(self) -> Sequence[Mapping[str, Any]]:
        return self.spec.get("initContainers") or ()

    @property
    def container_statuses(self) -> Sequence[Mapping[str, Any]]:
        return self.status.get("containerStatuses") or ()

    @property
    def conditions(self) -> Sequence[Mapping[str, Any]]:
        return self.status.get("conditions") or ()

    @property
    def pod_ip(self) -> str:
        return str(self.status.get("podIP", ""))

    @property
    def host_network(self) -> bool:
        return bool(self.spec.get("hostNetwork"))

    @property
    def restart_policy(self) -> str:
        return str(self.spec.get("restartPolicy", "Always"))

    @property
    def priority(self) -> int:
        return int(self.spec.get("priority", 0))

    @property
    def deletion_grace_period_s(self) -> int | None:
        grace = self.metadata.get("deletionGracePeriodSeconds")
        return None if grace is None else int(grace)
