"""What the server owns of the objects that it makes itself: the fields that it sets, as of a client of its own."""

from __future__ import annotations

from functools import cache

from pilothouse.api.apply.resets import resets_of
from pilothouse.api.apply.tracking import Tracker
from pilothouse.api.apply.versions import BuiltIn
from pilothouse.api.gvr import GVR
from pilothouse.api.kinds.table import by_kind
from pilothouse.api.schema import schema_of
from pilothouse.apiserver.ownership import Track

MANAGER = "kube-apiserver"
"""Who the server is to itself, by upstream's name."""


@cache
def own(kind: GVR, manager: str = MANAGER, subresource: str = "") -> Track:
    """For writes of a built-in kind by the server, at the version that is stored."""
    resource = by_kind(kind.api_version, kind.kind)
    assert resource is not None
    empty = schema_of(kind.api_version, kind.kind).empty()
    versions = BuiltIn((kind, *resource.other_versions))
    tracker = Tracker(kind, versions, empty, subresource=subresource, resets=resets_of(resource, subresource))
    return lambda live, draft, now: tracker.update(live, draft, manager, now)
