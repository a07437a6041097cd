"""ControllerRevision."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View
from pilothouse.api.meta import controller_of
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _controller(obj: View, now: float) -> str:
    owner = controller_of(obj)
    if owner is None:
        return NONE
    group = owner["apiVersion"].rpartition("/")[0]
    kind = f"{owner['kind']}.{group}" if group else owner["kind"]
    return f"{kind.lower()}/{owner['name']}"


CONTROLLER_REVISION = Resource(
    gvr.CONTROLLER_REVISIONS,
    metadata_checks=MetadataChecks.BOTH,
    has_generation=False,
    columns=(NAME, Column("Controller", _controller), Column("Revision", lambda obj, now: obj.get("revision", 0)), AGE),
    validate=Deferred("pilothouse.api.validate.workload", "validate_controller_revision"),
    validate_update=Deferred("pilothouse.api.validate.workload", "validate_controller_revision_update"),
)
