"""ComponentStatus."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import NAME, View
from pilothouse.api.meta import condition_of
from pilothouse.api.resource import READ_ONLY_VERBS, Column, Resource


def _health(obj: View, now: float) -> str:
    healthy = condition_of(obj.get("conditions"), "Healthy")
    return "Unknown" if healthy is None else "Healthy" if healthy["status"] == "True" else "Unhealthy"


def _said(what: str) -> Column:
    def cell(obj: View, now: float) -> str:
        return str((condition_of(obj.get("conditions"), "Healthy") or {}).get(what, ""))

    return Column(what.capitalize(), cell)


COMPONENT_STATUS = Resource(
    gvr.COMPONENT_STATUSES,
    short_names=("cs",),
    verbs=READ_ONLY_VERBS,
    has_generation=False,
    columns=(NAME, Column("Status", _health), _said("message"), _said("error")),
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
)
