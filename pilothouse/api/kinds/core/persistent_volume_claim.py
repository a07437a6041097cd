"""PersistentVolumeClaim."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds import pod_warnings
from pilothouse.api.kinds.columns import AGE, NAME, UNSET, View, access_modes, at, text
from pilothouse.api.kinds.core.persistent_volume import storage_class
from pilothouse.api.kinds.disabled_fields import of_claim
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _phase(obj: View, now: float) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else at(obj, "status", "phase") or ""


def _capacity(obj: View, now: float) -> str:
    from pilothouse.api import quantity

    if not at(obj, "spec", "volumeName"):
        return ""
    return str(quantity.parse(at(obj, "status", "capacity", "storage") or "0"))


def _modes(obj: View, now: float) -> str:
    return access_modes(at(obj, "status", "accessModes")) if at(obj, "spec", "volumeName") else ""


def _prepare_create(draft: Object) -> None:
    draft["status"] = {"phase": "Pending"}
    _align_data_sources(draft, None)


def _prepare_update(draft: Object, old: View) -> None:
    _align_data_sources(draft, old)


_POPULATED_KINDS = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def _align_data_sources(draft: Object, old: View | None) -> None:
    """`dataSource` and `dataSourceRef` say the same (KEP-1495), except that the second may name a namespace."""
    spec = draft.get("spec") or {}
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        known = (source.get("apiGroup") or "", source.get("kind", "")) in _POPULATED_KINDS
        if known or (old is not None and at(old, "spec", "dataSource")):
            spec["dataSourceRef"] = dict(source)
        else:
            del spec["dataSource"]
    elif source is None and reference is not None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def _warnings(obj: View) -> list[str]:
    found = list(pod_warnings.of_claim(obj.get("spec") or {}, "spec"))
    if _OLD_CLASS in (obj["metadata"].get("annotations") or {}):
        instead = 'deprecated since v1.8; use "storageClassName" attribute instead'
        found.insert(0, f"metadata.annotations[{_OLD_CLASS}]: {instead}")
    return found


PERSISTENT_VOLUME_CLAIM = Resource(
    gvr.PERSISTENT_VOLUME_CLAIMS,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("pvc",),
    subresources=(STATUS,),
    has_generation=False,
    columns=(
        NAME,
        Column("Status", _phase),
        text("Volume", "spec", "volumeName"),
        Column("Capacity", _capacity),
        Column("Access Modes", _modes),
        Column("StorageClass", storage_class),
        text("VolumeAttributesClass", "spec", "volumeAttributesClassName", empty=UNSET),
        AGE,
        text("VolumeMode", "spec", "volumeMode", empty=UNSET, priority=1),
    ),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    returns_deleted=True,
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
    drop_disabled=of_claim,
    validate=Deferred("pilothouse.api.validate.claim", "validate_claim"),
    validate_update=Deferred("pilothouse.api.validate.claim", "validate_claim_update"),
    validate_status_update=Deferred("pilothouse.api.validate.claim", "validate_claim_status_update"),
)
