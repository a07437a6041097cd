"""CustomResourceDefinition."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

CUSTOM_RESOURCE_DEFINITION = Resource(
    gvr.CUSTOM_RESOURCE_DEFINITIONS,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(STATUS,),
    unconditional_update=False,
)
