"""The quality of service class of a pod, and what the kernel's out-of-memory killer makes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import quantity

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_COUNTED = ("cpu", "memory")


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed if every container's limits equal its requests for both CPU and memory; BestEffort if none asks for any.

    Resources of the pod as a whole, where given, are looked at instead of its containers'.
    """
    own = spec.get("resources") or {}
    if own.get("requests") or own.get("limits"):
        parts = [own]
    else:
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        parts = [container.get("resources") or {} for container in containers]
    requests, limits, guaranteed = 0, 0, True
    for part in parts:
        limited = {name for name in _COUNTED if _positive((part.get("limits") or {}).get(name))}
        limits += len(limited)
        requests += sum(1 for name in _COUNTED if _positive((part.get("requests") or {}).get(name)))
        if len(limited) < len(_COUNTED) or any(_differs(part, name) for name in _COUNTED):
            guaranteed = False
    if not requests and not limits:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def _positive(value: Any) -> bool:
    return value is not None and quantity.to_milli(value) > 0


def _differs(part: Mapping[str, Any], name: str) -> bool:
    limit = part["limits"][name]
    request = (part.get("requests") or {}).get(name, limit)
    return quantity.to_milli(limit) != quantity.to_milli(request)


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
