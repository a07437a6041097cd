"""Endpoints."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

ENDPOINTS = Resource(
    gvr.ENDPOINTS,
    short_names=("ep",),
    has_generation=False,
)
