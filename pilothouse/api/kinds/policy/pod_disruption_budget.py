"""PodDisruptionBudget."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

POD_DISRUPTION_BUDGET = Resource(
    gvr.POD_DISRUPTION_BUDGETS,
    short_names=("pdb",),
    subresources=(STATUS,),
    unconditional_update=False,
)
