"""PersistentVolume."""

from __future__ import annotations

from pilothouse.api import gvr, quantity
from pilothouse.api.kinds.columns import AGE, NAME, UNSET, View, access_modes, at, text
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, Column, Resource


def _phase(obj: View, now: float) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else at(obj, "status", "phase") or ""


def _claim(obj: View, now: float) -> str:
    claim = at(obj, "spec", "claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _capacity(obj: View, now: float) -> str:
    return str(quantity.parse(at(obj, "spec", "capacity", "storage") or "0"))


def storage_class(obj: View, now: float) -> str:
    """The class a volume or claim names, in the annotation of old or in its spec."""
    annotations = obj["metadata"].get("annotations") or {}
    return annotations.get("volume.beta.kubernetes.io/storage-class") or at(obj, "spec", "storageClassName") or ""


def _prepare_create(draft: Object) -> None:
    draft["status"] = {"phase": "Pending"}
    if created := draft["metadata"].get("creationTimestamp"):
        draft["status"]["lastPhaseTransitionTime"] = created


def _prepare_status_update(draft: Object, old: View) -> None:
    status, before = draft.setdefault("status", {}), old.get("status") or {}
    if status.get("phase") == before.get("phase") and "lastPhaseTransitionTime" in before:
        status.setdefault("lastPhaseTransitionTime", before["lastPhaseTransitionTime"])


PERSISTENT_VOLUME = Resource(
    gvr.PERSISTENT_VOLUMES,
    short_names=("pv",),
    subresources=(STATUS,),
    has_generation=False,
    columns=(
        NAME,
        Column("Capacity", _capacity),
        Column("Access Modes", lambda obj, now: access_modes(at(obj, "spec", "accessModes"))),
        text("Reclaim Policy", "spec", "persistentVolumeReclaimPolicy"),
        Column("Status", _phase),
        Column("Claim", _claim),
        Column("StorageClass", storage_class),
        text("VolumeAttributesClass", "spec", "volumeAttributesClassName", empty=UNSET),
        text("Reason", "status", "reason"),
        AGE,
        text("VolumeMode", "spec", "volumeMode", empty=UNSET, priority=1),
    ),
    prepare_create=_prepare_create,
    prepare_status_update=_prepare_status_update,
    returns_deleted=True,
)
