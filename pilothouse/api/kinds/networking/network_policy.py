"""NetworkPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, at, label_selector
from pilothouse.api.resource import Column, Resource
from pilothouse.kit.deferred import Deferred

NETWORK_POLICY = Resource(
    gvr.NETWORK_POLICIES,
    short_names=("netpol",),
    columns=(NAME, Column("Pod-Selector", lambda obj, now: label_selector(at(obj, "spec", "podSelector") or {})), AGE),
    validate=Deferred("pilothouse.api.validate.ingress", "validate_network_policy"),
)
