"""IPAddress."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

IP_ADDRESS = Resource(
    gvr.IP_ADDRESSES,
    short_names=("ip",),
    name_rule="path-segment",
    has_generation=False,
)
