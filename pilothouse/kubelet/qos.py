"""What the kernel's out-of-memory killer makes of a container's quality of service. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.qos import BEST_EFFORT, GUARANTEED


def oom_score_adj(
    pod_spec: Mapping[str, Any], qos: str, container: Mapping[str, Any], memory_capacity_bytes: int
) -> int:
    """From -997 (Guaranteed) to 1000 (BestEffort); in between, the less of the node's memory is requested the higher."""
    if pod_spec.get("priorityClassName") in ("system-node-critical",) or qos == GUARANTEED:
        return -997
    if qos == BEST_EFFORT or memory_capacity_bytes <= 0:
        return 1000
    request = ((container.get("resources") or {}).get("requests") or {}).get("memory", 0)
    adjusted = 1000 - 1000 * quantity.to_int(request) // memory_capacity_bytes
    return min(max(adjusted, 3), 999)
