"""StorageObjectInUseProtection and PersistentVolumeClaimResize.

Claims, volumes and attribute classes go only when nothing uses them, and claims grow only where their class allows it.
Source: `plugin/pkg/admission/storage/{storageobjectinuseprotection,persistentvolume/resize}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.quantity import Quantity, parse
from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    operations = frozenset({"CREATE"})
    resources = frozenset(FINALIZERS)
    subresources = WHOLE_OBJECTS

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.obj is None:
            return
        finalizer = FINALIZERS[attributes.resource.gvr.group_resource]
        metadata = attributes.obj["metadata"]
        present = metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"
    operations = frozenset({"UPDATE"})
    resources = frozenset({"persistentvolumeclaims"})
    subresources = WHOLE_OBJECTS

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def validate(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        if new is None or old is None or _size(new) <= _size(old):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise forbidden(attributes, "Only bound persistent volume claims can be expanded")
        names = [(claim.get("spec") or {}).get("storageClassName", "") for claim in (new, old)]
        found = (
            await self._objects.get(kinds.STORAGE_CLASSES, "", names[0]) if names[0] and names[0] == names[1] else None
        )
        if found is None or not found.get("allowVolumeExpansion"):
            raise forbidden(
                attributes,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
                "must support resize",
            )


def _size(claim: Mapping[str, Any]) -> Quantity:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return parse(str(requests.get("storage", 0)))
