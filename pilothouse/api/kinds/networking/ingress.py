"""Ingress."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

INGRESS = Resource(
    gvr.INGRESSES,
    short_names=("ing",),
    subresources=(STATUS,),
)
