"""What is wrong with an object of any kind: its metadata, and how a write is refused for all that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import names, status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, invalid_object
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.api.validate.metadata import check_known_finalizers, validate_metadata, validate_metadata_update
from pilothouse.apiserver.write import Write


def metadata_faults(resource: Resource, obj: Object) -> list[FieldError]:
    """Of a new object."""
    rule = names.RULES[resource.name_rule]
    base_rule = rule if resource.checks_base_name else names.path_segment
    faults = validate_metadata(obj, namespaced=resource.gvr.namespaced, rule=rule, base_rule=base_rule)
    if resource.knows_finalizers and "finalizers" in obj["metadata"]:
        faults += check_known_finalizers(obj["metadata"])
    return faults


def metadata_update_faults(
    resource: Resource, draft: Object, old: Mapping[str, Any], *, subresource: str = ""
) -> list[FieldError]:
    """A fault is told as often as upstream's generic code and its kinds' own find it."""
    metadata, checks = draft["metadata"], MetadataChecks.CHANGE if subresource else resource.metadata_checks
    changed = validate_metadata_update(draft, old)
    before = old["metadata"]
    same_base = metadata.get("generateName") == before.get("generateName")
    if not changed and same_base and metadata.get("finalizers") == before.get("finalizers"):
        # What else there is to a new object's metadata cannot have changed.
        return changed
    namespaced = resource.gvr.namespaced
    faults = validate_metadata(draft, namespaced=namespaced, rule=names.path_segment) + changed
    if checks in (MetadataChecks.AS_NEW, MetadataChecks.BOTH):
        times = 2 if checks is MetadataChecks.AS_NEW and resource.is_checked_twice else 1
        faults += times * metadata_faults(resource, draft)
    if checks in (MetadataChecks.CHANGE, MetadataChecks.BOTH):
        faults += changed
        if resource.knows_finalizers and "finalizers" in metadata:
            faults += check_known_finalizers(metadata)
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


def update_faults(resource: Resource, draft: Object, old: Mapping[str, Any], write: Write) -> list[FieldError]:
    """Of an update, its metadata apart."""
    faults = [] if resource.ratchets else list(resource.validate(draft))
    if resource.is_checked_twice:
        faults += faults
    return [*faults, *resource.validate_update(draft, old), *version_faults(resource, draft, old, write)]


def refuse_new(resource: Resource, obj: Object, write: Write) -> None:
    """Raises Invalid if there is anything wrong with a new object."""
    metadata = metadata_faults(resource, obj)
    own = [*resource.validate(obj), *version_faults(resource, obj, None, write)]
    if resource.metadata_checks is MetadataChecks.NONE and own:
        metadata = []
    refuse(resource, obj, metadata + own)


def no_name_found(gvr: GVR, name: str) -> status.AlreadyExists:
    """No name was free of those that were made up; `name` is the last one."""
    return status.AlreadyExists(
        f'{gvr.group_resource} "{name}" already exists, the server was not able to generate a unique name for the object',
        group=gvr.group,
        kind=gvr.plural,
        name=name,
        retry_after_s=1,
    )
