"""ComponentStatus."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import READ_ONLY_VERBS, Resource

COMPONENT_STATUS = Resource(
    gvr.COMPONENT_STATUSES,
    short_names=("cs",),
    verbs=READ_ONLY_VERBS,
    has_generation=False,
)
