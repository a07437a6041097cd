"""CSIDriver."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, UNSET, View, at, flag
from pilothouse.api.meta import Object
from pilothouse.api.resource import Column, Resource


def _token_requests(obj: View, now: float) -> str:
    requests = at(obj, "spec", "tokenRequests")
    return UNSET if requests is None else ",".join(request.get("audience", "") for request in requests)


def _prepare_update(draft: Object, old: View) -> None:
    """Generation counts changes of the spec, though a new driver has none."""
    if draft.get("spec") != old.get("spec"):
        draft["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


CSI_DRIVER = Resource(
    gvr.CSI_DRIVERS,
    has_generation=False,
    unconditional_update=False,
    columns=(
        NAME,
        flag("AttachRequired", "spec", "attachRequired", default=True),
        flag("PodInfoOnMount", "spec", "podInfoOnMount"),
        flag("StorageCapacity", "spec", "storageCapacity"),
        Column("TokenRequests", _token_requests),
        flag("RequiresRepublish", "spec", "requiresRepublish"),
        Column("Modes", lambda obj, now: ",".join(at(obj, "spec", "volumeLifecycleModes") or ()) or NONE),
        AGE,
    ),
    prepare_update=_prepare_update,
    returns_deleted=True,
)
