"""ResourceClaim."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _state(obj: View, now: float) -> str:
    deleting = "deletionTimestamp" in obj["metadata"]
    states = ["deleted"] if deleting else []
    if at(obj, "status", "allocation") is None:
        states += [] if deleting else ["pending"]
    else:
        states += ["allocated", "reserved"] if at(obj, "status", "reservedFor") else ["allocated"]
    return ",".join(states)


RESOURCE_CLAIM = Resource(
    gvr.RESOURCE_CLAIMS,
    metadata_checks=MetadataChecks.BOTH,
    subresources=(STATUS,),
    has_generation=False,
    columns=(NAME, Column("State", _state), AGE),
    prepare_create=clears_status(gvr.RESOURCE_CLAIMS),
    returns_deleted=True,
    ratchets=True,
    validate=Deferred("pilothouse.api.validate.device_claim", "validate_claim"),
    validate_update=Deferred("pilothouse.api.validate.device_claim", "validate_spec_update"),
    validate_status_update=Deferred("pilothouse.api.validate.device_claim", "validate_claim_status_update"),
)
