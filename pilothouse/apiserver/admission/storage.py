"""StorageObjectInUseProtection: claims, volumes and attribute classes go only when nothing uses them.

Source: `plugin/pkg/admission/storage/storageobjectinuseprotection`.
"""

from __future__ import annotations

from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.attributes import Attributes

FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    operations = frozenset({"CREATE"})
    resources = frozenset(FINALIZERS)

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.subresource or attributes.obj is None:
            return
        finalizer = FINALIZERS[attributes.resource.gvr.group_resource]
        metadata = attributes.obj["metadata"]
        present = metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]
