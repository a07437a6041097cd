"""The quality of service of a pod, by what its containers request. Source: component-helpers `resource`, core `helper/qos`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import quantity

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_COUNTED = ("cpu", "memory")


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed if every container limits CPU and memory to what it requests, BestEffort if none says anything, else Burstable.

    Resources of the pod as a whole count instead of the containers' where they are given.
    """
    whole = spec.get("resources")
    if whole and (whole.get("requests") or whole.get("limits")):
        parts = [whole]
    else:
        containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
        parts = [container.get("resources") or {} for container in containers]
    requests = _total(parts, "requests")
    limits = _total(parts, "limits")
    if not requests and not limits:
        return BEST_EFFORT
    guaranteed = all(set(_COUNTED) <= _named(part, "limits").keys() for part in parts) and requests == limits
    return GUARANTEED if guaranteed else BURSTABLE


def _named(part: Mapping[str, Any], which: str) -> dict[str, quantity.Quantity]:
    amounts = part.get(which) or {}
    return {name: amount for name in _COUNTED if name in amounts and (amount := quantity.parse(amounts[name]))}


def _total(parts: list[Mapping[str, Any]], which: str) -> dict[str, quantity.Quantity]:
    total: dict[str, quantity.Quantity] = {}
    for part in parts:
        for name, amount in _named(part, which).items():
            total[name] = total[name] + amount if name in total else amount
    return total
