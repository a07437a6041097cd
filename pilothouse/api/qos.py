"""The quality of service of a pod, by what its containers request. Amounts are in canonical form.

Source: upstream `pkg/apis/core/helper/qos`.
"""

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
    if whole is not None:
        parts = [whole]
    else:
        containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
        parts = [container.get("resources") or {} for container in containers]
    says_anything, limits_all, says_the_same = False, True, True
    for part in parts:
        requests, limits = part.get("requests") or {}, part.get("limits") or {}
        for name in _COUNTED:
            request, limit = _positive(requests.get(name)), _positive(limits.get(name))
            says_anything = says_anything or request is not None or limit is not None
            limits_all = limits_all and limit is not None
            says_the_same = says_the_same and request == limit
    if not says_anything:
        return BEST_EFFORT
    if not limits_all:
        return BURSTABLE
    return GUARANTEED if says_the_same or _total(parts, "requests") == _total(parts, "limits") else BURSTABLE


def _positive(amount: str | int | float | None) -> str | int | float | None:
    """The amount, or None for nothing: zero counts as not given."""
    return amount if amount and amount != "0" else None


def _total(parts: list[Mapping[str, Any]], which: str) -> dict[str, quantity.Quantity]:
    total: dict[str, quantity.Quantity] = {}
    for part in parts:
        amounts = part.get(which) or {}
        for name in _COUNTED:
            if amount := quantity.parse(amounts.get(name, "0")):
                total[name] = total[name] + amount if name in total else amount
    return total
