"""FlowSchema."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

FLOW_SCHEMA = Resource(
    gvr.FLOW_SCHEMAS,
    subresources=(STATUS,),
)
