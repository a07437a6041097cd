"""Secret."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

SECRET = Resource(
    gvr.SECRETS,
    has_generation=False,
    secret=True,
)
