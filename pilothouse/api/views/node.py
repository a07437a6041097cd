"""Typed reading of Nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.view import View


class NodeView(View):
    """A Node."""

    __slots__ = ()

    @property
    def conditions(self) -> Sequence[Mapping[str, Any]]:
        return self.status.get("conditions") or ()

    @property
    def ready(self) -> str:
        """`True`, `False`, `Unknown`, or empty if the node never said."""
        condition = meta.condition_of(self.conditions, "Ready")
        return str(condition["status"]) if condition is not None else ""

    @property
    def is_ready(self) -> bool:
        return self.ready == "True"

    @property
    def taints(self) -> Sequence[Mapping[str, Any]]:
        return self.spec.get("taints") or ()

    @property
    def unschedulable(self) -> bool:
        return bool(self.spec.get("unschedulable"))

    @property
    def pod_cidrs(self) -> Sequence[str]:
        cidrs: Sequence[str] = self.spec.get("podCIDRs") or ()
        single = self.spec.get("podCIDR")
        return cidrs or ((single,) if single else ())

    @property
    def zone(self) -> str:
        """Region and zone together; empty for a node without either."""
        region = self.labels.get("topology.kubernetes.io/region", "")
        zone = self.labels.get("topology.kubernetes.io/zone", "")
        return f"{region}:{zone}" if region or zone else ""
