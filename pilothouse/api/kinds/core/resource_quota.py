"""ResourceQuota."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, Resource
from pilothouse.kit.deferred import Deferred


def _usage(*, limits: bool) -> Column:
    def cell(obj: View, now: float) -> str:
        hard, used = at(obj, "status", "hard") or {}, at(obj, "status", "used") or {}
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard[name]}"
            for name in sorted(hard)
            if name.startswith("limits.") == limits
        )

    return Column("Limit" if limits else "Request", cell)


RESOURCE_QUOTA = Resource(
    gvr.RESOURCE_QUOTAS,
    short_names=("quota",),
    subresources=(STATUS,),
    has_generation=False,
    columns=(NAME, _usage(limits=False), _usage(limits=True), AGE),
    prepare_create=clears_status(gvr.RESOURCE_QUOTAS),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.policy", "validate_resource_quota"),
    validate_update=Deferred("pilothouse.api.validate.policy", "validate_resource_quota_update"),
    validate_status_update=Deferred("pilothouse.api.validate.policy", "validate_resource_quota_status_update"),
)
