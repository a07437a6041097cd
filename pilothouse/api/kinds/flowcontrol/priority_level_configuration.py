"""PriorityLevelConfiguration."""

from __future__ import annotations

from typing import Any

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, at, text
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _limited(name: str, *path: str) -> Column:
    def cell(obj: View, now: float) -> Any:
        value = at(obj, "spec", "limited", *path)
        return NONE if value is None else value

    return Column(name, cell)


PRIORITY_LEVEL_CONFIGURATION = Resource(
    gvr.PRIORITY_LEVEL_CONFIGURATIONS,
    metadata_checks=MetadataChecks.AS_NEW,
    subresources=(STATUS,),
    columns=(
        NAME,
        text("Type", "spec", "type"),
        _limited("NominalConcurrencyShares", "nominalConcurrencyShares"),
        _limited("Queues", "limitResponse", "queuing", "queues"),
        _limited("HandSize", "limitResponse", "queuing", "handSize"),
        _limited("QueueLengthLimit", "limitResponse", "queuing", "queueLengthLimit"),
        AGE,
    ),
    prepare_create=clears_status(gvr.PRIORITY_LEVEL_CONFIGURATIONS),
    validate=Deferred("pilothouse.api.validate.flowcontrol", "validate_priority_level"),
    validate_status_update=Deferred("pilothouse.api.validate.flowcontrol", "validate_status_update"),
)
