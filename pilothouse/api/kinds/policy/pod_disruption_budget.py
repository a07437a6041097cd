"""PodDisruptionBudget."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at, number
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _limit(name: str, key: str) -> Column:
    def cell(obj: View, now: float) -> str:
        value = at(obj, "spec", key)
        return "N/A" if value is None else str(value)

    return Column(name, cell)


POD_DISRUPTION_BUDGET = Resource(
    gvr.POD_DISRUPTION_BUDGETS,
    metadata_checks=MetadataChecks.NONE,
    short_names=("pdb",),
    name_rule="path-segment",
    knows_finalizers=False,
    subresources=(STATUS,),
    unconditional_update=False,
    columns=(
        NAME,
        _limit("Min Available", "minAvailable"),
        _limit("Max Unavailable", "maxUnavailable"),
        number("Allowed Disruptions", "status", "disruptionsAllowed"),
        AGE,
    ),
    prepare_create=clears_status(gvr.POD_DISRUPTION_BUDGETS),
    validate=Deferred("pilothouse.api.validate.policy", "validate_disruption_budget"),
    validate_status_update=Deferred("pilothouse.api.validate.policy", "validate_disruption_budget_status_update"),
)
