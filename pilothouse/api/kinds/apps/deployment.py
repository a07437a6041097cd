"""Deployment."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import SCALE, STATUS, Resource, ScalePaths

DEPLOYMENT = Resource(
    gvr.DEPLOYMENTS,
    short_names=("deploy",),
    categories=("all",),
    subresources=(
        SCALE,
        STATUS,
    ),
    scale=ScalePaths(),
)
