"""IPAddress."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import NAME, NONE, View, at
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _parent(obj: View, now: float) -> str:
    parent = at(obj, "spec", "parentRef")
    if not parent:
        return NONE
    resource = parent.get("resource", "")
    qualified = f"{resource}.{parent['group']}" if parent.get("group") else resource
    return "/".join(filter(None, (qualified.lower(), parent.get("namespace"), parent.get("name"))))


IP_ADDRESS = Resource(
    gvr.IP_ADDRESSES,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("ip",),
    name_rule="own",
    has_generation=False,
    columns=(NAME, Column("ParentRef", _parent)),
    validate=Deferred("pilothouse.api.validate.cluster_address", "validate_address"),
    validate_update=Deferred("pilothouse.api.validate.cluster_address", "validate_address_update"),
)
