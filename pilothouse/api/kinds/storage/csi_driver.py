"""CSIDriver."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, UNSET, View, at, flag
from pilothouse.api.meta import Object
from pilothouse.api.resource import Column, Resource
from pilothouse.kit.deferred import Deferred


def _token_requests(obj: View, now: float) -> str:
    requests = at(obj, "spec", "tokenRequests")
    return UNSET if requests is None else ",".join(request.get("audience", "") for request in requests)


def _prepare_update(draft: Object, old: View) -> None:
    """Generation counts changes of the spec, though a new driver has none."""
    if draft.get("spec") != old.get("spec"):
        draft["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _drop_disabled(draft: Object, old: View | None) -> None:
    spec = draft.get("spec") or {}
    field = "preventPodSchedulingIfMissing"
    if field in spec and at(old or {}, "spec", field) is None:
        del spec[field]


def _warnings(driver: View) -> list[str]:
    spec = driver.get("spec") or {}
    if not spec.get("tokenRequests") or "serviceAccountTokenInSecrets" in spec:
        return []
    return [
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, "
        "set to true to prevent possible logging of tokens in volume attributes"
    ]


def _update_warnings(new: View, old: View) -> list[str]:
    changed = at(new, "spec", "tokenRequests") != at(old, "spec", "tokenRequests")
    return _warnings(new) if changed else []


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
    validate=Deferred("pilothouse.api.validate.csi", "validate_driver"),
    validate_update=Deferred("pilothouse.api.validate.csi", "validate_driver_update"),
    warnings=_warnings,
    update_warnings=_update_warnings,
    drop_disabled=_drop_disabled,
)
