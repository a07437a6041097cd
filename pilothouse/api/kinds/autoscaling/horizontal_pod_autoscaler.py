"""HorizontalPodAutoscaler."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

HORIZONTAL_POD_AUTOSCALER = Resource(
    gvr.HORIZONTAL_POD_AUTOSCALERS,
    other_versions=(gvr.HORIZONTAL_POD_AUTOSCALERS_V1,),
    short_names=("hpa",),
    categories=("all",),
    subresources=(STATUS,),
    has_generation=False,
)
