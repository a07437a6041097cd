"""FlowSchema."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, at, text
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import condition_of
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _missing(obj: View, now: float) -> str:
    dangling = condition_of(at(obj, "status", "conditions"), "Dangling")
    return "?" if dangling is None else str(dangling["status"])


FLOW_SCHEMA = Resource(
    gvr.FLOW_SCHEMAS,
    metadata_checks=MetadataChecks.AS_NEW,
    subresources=(STATUS,),
    columns=(
        NAME,
        text("PriorityLevel", "spec", "priorityLevelConfiguration", "name"),
        Column("MatchingPrecedence", lambda obj, now: at(obj, "spec", "matchingPrecedence") or 0),
        text("DistinguisherMethod", "spec", "distinguisherMethod", "type", empty=NONE),
        AGE,
        Column("MissingPL", _missing),
    ),
    prepare_create=clears_status(gvr.FLOW_SCHEMAS),
    validate=Deferred("pilothouse.api.validate.flowcontrol", "validate_flow_schema"),
    validate_status_update=Deferred("pilothouse.api.validate.flowcontrol", "validate_status_update"),
)
