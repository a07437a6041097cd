"""APIService."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

API_SERVICE = Resource(
    gvr.API_SERVICES,
    categories=("api-extensions",),
    subresources=(STATUS,),
    has_generation=False,
    unconditional_update=False,
)
