"""Binding."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import CREATE_ONLY, Resource

BINDING = Resource(
    gvr.BINDINGS,
    verbs=CREATE_ONLY,
)
