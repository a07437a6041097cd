"""PersistentVolumeClaim."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

PERSISTENT_VOLUME_CLAIM = Resource(
    gvr.PERSISTENT_VOLUME_CLAIMS,
    short_names=("pvc",),
    subresources=(STATUS,),
    has_generation=False,
)
