"""DefaultStorageClass and DefaultIngressClass: the class of an object that names none.

Source: `plugin/pkg/admission/storage/storageclass/setdefault`, `plugin/pkg/admission/network/defaultingressclass`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import Object, annotations_of, name_of, parse_time
from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

_STORAGE_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_LEGACY_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_INGRESS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_LEGACY_INGRESS_CLASS = "kubernetes.io/ingress.class"


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    operations = frozenset({"CREATE"})
    resources = frozenset({"persistentvolumeclaims"})
    subresources = WHOLE_OBJECTS

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        claim = attributes.obj
        if claim is None or "storageClassName" in claim["spec"]:
            return
        if _LEGACY_STORAGE_CLASS in annotations_of(claim):
            return
        classes = await self._objects.list(kinds.STORAGE_CLASSES)
        defaults = [
            found for found in classes if any(annotations_of(found).get(key) == "true" for key in _STORAGE_ANNOTATIONS)
        ]
        if defaults:
            claim["spec"]["storageClassName"] = name_of(_newest(defaults))


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    operations = frozenset({"CREATE"})
    resources = frozenset({"ingresses.networking.k8s.io"})
    subresources = WHOLE_OBJECTS

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        ingress = attributes.obj
        if ingress is None or (ingress.get("spec") or {}).get("ingressClassName") is not None:
            return
        if annotations_of(ingress).get(_LEGACY_INGRESS_CLASS):
            return
        classes = await self._objects.list(kinds.INGRESS_CLASSES)
        defaults = [found for found in classes if annotations_of(found).get(_INGRESS_ANNOTATION) == "true"]
        if len(defaults) > 1:
            raise forbidden(attributes, f"{len(defaults)} default IngressClasses were found, only 1 allowed")
        if defaults:
            ingress.setdefault("spec", {})["ingressClassName"] = name_of(defaults[0])


def _newest(classes: Iterable[Object]) -> Object:
    """The class that was created last; of those of one second, the first by name."""
    ordered = sorted(classes, key=name_of)
    return max(
        ordered, key=lambda found: parse_time(found["metadata"].get("creationTimestamp", "1970-01-01T00:00:00Z"))
    )
