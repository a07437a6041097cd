"""ControllerRevision."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

CONTROLLER_REVISION = Resource(
    gvr.CONTROLLER_REVISIONS,
    has_generation=False,
)
