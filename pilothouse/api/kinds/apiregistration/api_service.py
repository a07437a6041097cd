"""APIService."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import condition_of
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _service(obj: View, now: float) -> str:
    service = at(obj, "spec", "service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def _available(obj: View, now: float) -> str:
    condition = condition_of(at(obj, "status", "conditions"), "Available")
    if condition is None:
        return "Unknown"
    return "True" if condition["status"] == "True" else f"{condition['status']} ({condition.get('reason', '')})"


API_SERVICE = Resource(
    gvr.API_SERVICES,
    metadata_checks=MetadataChecks.BOTH,
    knows_finalizers=False,
    categories=("api-extensions",),
    subresources=(STATUS,),
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, Column("Service", _service), Column("Available", _available), AGE),
    name_rule="path-segment",
    prepare_create=clears_status(gvr.API_SERVICES),
    validate=Deferred("pilothouse.api.validate.api_service", "validate_api_service"),
    validate_status_update=Deferred("pilothouse.api.validate.api_service", "validate_api_service_status_update"),
)
