"""VolumeAttachment."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

VOLUME_ATTACHMENT = Resource(
    gvr.VOLUME_ATTACHMENTS,
    subresources=(STATUS,),
    has_generation=False,
    unconditional_update=False,
)
