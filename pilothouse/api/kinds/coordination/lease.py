"""Lease."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at, text
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.kit.deferred import Deferred


def _drop_disabled(draft: Object, old: View | None) -> None:
    """What leases say of how a leader is chosen for their holders."""
    spec, before = draft.get("spec") or {}, at(old or {}, "spec") or {}
    for field in ("strategy", "preferredHolder"):
        if field in spec and field not in before:
            del spec[field]


LEASE = Resource(
    gvr.LEASES,
    knows_finalizers=False,
    has_generation=False,
    unconditional_update=False,
    columns=(NAME, text("Holder", "spec", "holderIdentity"), AGE),
    create_on_update=True,
    drop_disabled=_drop_disabled,
    validate=Deferred("pilothouse.api.validate.lease", "validate_lease"),
)
