"""PersistentVolume."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, UNSET, View, access_modes, at, text
from pilothouse.api.meta import Object, format_time
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _phase(obj: View, now: float) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else at(obj, "status", "phase") or ""


def _claim(obj: View, now: float) -> str:
    claim = at(obj, "spec", "claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _capacity(obj: View, now: float) -> str:
    from pilothouse.api import quantity

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


def _stamp_status(draft: Object, old: View, now: float) -> None:
    """When the phase changed, unless the client says."""
    status, before = draft["status"], old.get("status") or {}
    said = status.get("lastPhaseTransitionTime")
    if status.get("phase") != before.get("phase") and said in (None, before.get("lastPhaseTransitionTime")):
        status["lastPhaseTransitionTime"] = format_time(now)


_SOURCES = {
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_ANNOTATIONS = {
    "volume.beta.kubernetes.io/storage-class": 'deprecated since v1.8; use "storageClassName" attribute instead',
    "volume.beta.kubernetes.io/mount-options": 'deprecated since v1.31; use "mountOptions" attribute instead',
}


def _warnings(obj: View) -> list[str]:
    spec = obj.get("spec") or {}
    annotations = obj["metadata"].get("annotations") or {}
    found = [f"metadata.annotations[{key}]: {text}" for key, text in _ANNOTATIONS.items() if key in annotations]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        instead = "Instead, the recommended approach is to use dynamic provisioning."
        found.append(f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {instead}")
    path = "spec.nodeAffinity.required.nodeSelectorTerms"
    for i, term in enumerate(at(spec, "nodeAffinity", "required", "nodeSelectorTerms") or ()):
        found += pod_warnings.of_node_selector_term(term, f"{path}[{i}]")
    shown = {"storageos": "storageOS"}
    return found + [f"spec.{shown.get(key, key)}: {text}" for key, text in _SOURCES.items() if key in spec]


PERSISTENT_VOLUME = Resource(
    gvr.PERSISTENT_VOLUMES,
    metadata_checks=MetadataChecks.AS_NEW,
    is_checked_twice=True,
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
    stamp_status=_stamp_status,
    returns_deleted=True,
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
    validate=Deferred("pilothouse.api.validate.storage", "validate_persistent_volume"),
    validate_update=Deferred("pilothouse.api.validate.storage", "validate_persistent_volume_update"),
)
