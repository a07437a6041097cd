"""DaemonSet."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

DAEMON_SET = Resource(
    gvr.DAEMON_SETS,
    short_names=("ds",),
    categories=("all",),
    subresources=(STATUS,),
)
