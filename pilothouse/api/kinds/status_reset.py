"""The status of an object that is created: nothing that a client says, only what is always written."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object


def clears_status(gvr: GVR) -> Callable[[Object], None]:
    """A `prepare_create` hook for kinds whose status belongs to the server."""

    def clear(draft: Object) -> None:
        from pilothouse.api.schema import schema_of

        schema = schema_of(gvr.api_version, gvr.kind)
        if schema.struct.fields["status"].presence:
            draft["status"] = schema.empty("status")
        else:
            draft.pop("status", None)

    return clear
