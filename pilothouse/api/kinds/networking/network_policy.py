"""NetworkPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

NETWORK_POLICY = Resource(
    gvr.NETWORK_POLICIES,
    short_names=("netpol",),
)
