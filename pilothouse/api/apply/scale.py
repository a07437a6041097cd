"""Ownership through the scale subresource, where the number of replicas is the only field there is to own.

Source: apimachinery `pkg/util/managedfields/scalehandler.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.apply import sets
from pilothouse.api.apply.owners import entry_of, in_order, owner_of, with_fields
from pilothouse.api.meta import Object

SCALE_VERSION = "autoscaling/v1"
_REPLICAS: sets.FieldSet = {"f:spec": {"f:replicas": {}}}


def to_scale(entries: Sequence[Object], replicas: Sequence[str]) -> list[Object]:
    """The entries of an object's Scale: of those who own the field at `replicas` in the object."""
    path = sets.of_paths([tuple(f"f:{name}" for name in replicas)])
    return [
        {**entry, "apiVersion": SCALE_VERSION, "fieldsV1": _REPLICAS}
        for entry in entries
        if sets.is_subset(path, entry["fieldsV1"])
    ]


def from_scale(
    entries: Sequence[Object], scale: Sequence[Object], replicas: Sequence[str], version: str
) -> list[Object]:
    """The entries of an object at `version` after a write of its Scale, which has the entries `scale`."""
    path = sets.of_paths([tuple(f"f:{name}" for name in replicas)])
    owners = {_who(entry): entry for entry in scale if sets.is_subset(_REPLICAS, entry["fieldsV1"])}
    result: list[Object] = []
    for entry in entries:
        if not sets.is_subset(path, entry["fieldsV1"]) or owners.pop(_who(entry), None) is not None:
            result.append(entry)
        elif fields := sets.difference(entry["fieldsV1"], path):
            result.append(with_fields(entry, fields))
    for entry in owners.values():
        manager, operation, _, subresource = owner_of(entry)
        result.append(entry_of((manager, operation, version, subresource), version, path, None))
    return in_order(result)


def _who(entry: Object) -> tuple[str, str, str]:
    manager, operation, _, subresource = owner_of(entry)
    return manager, operation, subresource
