"""ConfigMap."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

CONFIG_MAP = Resource(
    gvr.CONFIG_MAPS,
    short_names=("cm",),
    has_generation=False,
)
