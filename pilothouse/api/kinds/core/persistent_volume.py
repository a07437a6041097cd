"""PersistentVolume."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

PERSISTENT_VOLUME = Resource(
    gvr.PERSISTENT_VOLUMES,
    short_names=("pv",),
    subresources=(STATUS,),
    has_generation=False,
)
