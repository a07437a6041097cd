"""What is wrong with an object of any kind: its metadata, and how a write is refused for all that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import names, status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, invalid_object
from pilothouse.api.resource import Resource
from pilothouse.api.validate.metadata import check_known_finalizers, validate_metadata, validate_metadata_update
from pilothouse.apiserver.write import Write


def metadata_faults(resource: Resource, obj: Object) -> list[FieldError]:
    """Of a new object."""
    faults = validate_metadata(obj, namespaced=resource.gvr.namespaced, rule=names.RULES[resource.name_rule])
    if resource.knows_finalizers and "finalizers" in obj["metadata"]:
        faults += check_known_finalizers(obj["metadata"])
    return faults


def metadata_update_faults(resource: Resource, draft: Object, old: Mapping[str, Any]) -> list[FieldError]:
    """A fault that all kinds share is told twice, as upstream's generic code and its kinds' own do."""
    faults = validate_metadata_update(draft, old)
    faults += faults
    if resource.knows_finalizers and "finalizers" in draft["metadata"]:
        faults += check_known_finalizers(draft["metadata"])
    return faults


def version_faults(
    resource: Resource, obj: Object, old: Mapping[str, Any] | None, write: Write
) -> Sequence[FieldError]:
    """What only the version that the client speaks forbids; `old` is None for a new object."""
    check = resource.validate_as
    return () if check is None else check(write.gvr or resource.gvr, obj, old)


def refuse(resource: Resource, obj: Object, faults: list[FieldError]) -> None:
    """Raises Invalid if there are any."""
    if faults:
        gvr = resource.gvr
        raise invalid_object(gvr.group, gvr.kind, obj["metadata"].get("name", ""), faults)


def no_name_found(gvr: GVR, name: str) -> status.AlreadyExists:
    """No name was free of those that were made up; `name` is the last one."""
    return status.AlreadyExists(
        f'{gvr.group_resource} "{name}" already exists, the server was not able to generate a unique name for the object',
        group=gvr.group,
        kind=gvr.plural,
        name=name,
        retry_after_s=1,
    )
