"""Job."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

JOB = Resource(
    gvr.JOBS,
    categories=("all",),
    subresources=(STATUS,),
)
