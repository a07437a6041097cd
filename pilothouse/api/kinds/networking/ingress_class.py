"""IngressClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import Resource

INGRESS_CLASS = Resource(
    gvr.INGRESS_CLASSES,
)
