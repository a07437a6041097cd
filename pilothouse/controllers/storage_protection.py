"""Lets claims, volumes and volume attribute classes that are being deleted go as soon as nothing uses them.

Admission gives each of them a finalizer when it is made; the controllers here take it away. Source: upstream
`pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import meta, status
from pilothouse.api.gvr import (
    GVR,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTRIBUTES_CLASSES,
)
from pilothouse.api.meta import Object
from pilothouse.api.view import View
from pilothouse.api.views.pod import PodView
from pilothouse.controllers.runtime import Context, Controller

CLAIM, CLASS = "claim", "volumeAttributesClass"
"""Indexes: of pods by the claims that they use, of claims and volumes by their class."""


class _Protection(Controller):
    """The loop that the three kinds share: a key is that of a protected object."""

    protected: ClassVar[GVR]
    finalizer: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._objects = context.informers.of(self.protected)
        self.follow(self._objects, self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        obj = self._objects.get(key)
        if obj is None or not meta.is_deleting(obj) or self._is_used(obj):
            return None
        finalizers = obj["metadata"].get("finalizers") or []
        if self.finalizer not in finalizers:
            return None
        kept = [each for each in finalizers if each != self.finalizer]
        try:
            await self.client.update(self.protected, {**obj, "metadata": {**obj["metadata"], "finalizers": kept}})
        except status.NotFound:
            return None
        return None

    @abstractmethod
    def _is_used(self, obj: Object) -> bool: ...


class ClaimProtection(_Protection):
    """A claim is used by every pod that names it and has a node: the kubelet lets none start once the claim is being deleted."""

    name = "persistentvolumeclaim-protection-controller"
    account = "pvc-protection-controller"
    protected = PERSISTENT_VOLUME_CLAIMS
    finalizer = "kubernetes.io/pvc-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = context.informers.of(PODS, indexers={CLAIM: _claims_of})
        self.follow(self._pods, self._pod_changed)

    def _is_used(self, obj: Object) -> bool:
        return bool(self._pods.by_index(CLAIM, meta.key_of(obj)))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        before = set(_claims_of(old)) if old is not None else set()
        after = set(_claims_of(new)) if new is not None else set()
        for key in before - after:
            self.queue.add(key)


class VolumeProtection(_Protection):
    """A volume is used while it is bound to a claim."""

    name = "persistentvolume-protection-controller"
    account = "pv-protection-controller"
    protected = PERSISTENT_VOLUMES
    finalizer = "kubernetes.io/pv-protection"

    def _is_used(self, obj: Object) -> bool:
        return View(obj).status.get("phase") == "Bound"


class VolumeAttributesClassProtection(_Protection):
    """A class is used by the claims and volumes that name it."""

    name = "volumeattributesclass-protection-controller"
    account = "volumeattributesclass-protection-controller"
    protected = VOLUME_ATTRIBUTES_CLASSES
    finalizer = "kubernetes.io/vac-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._users = [
            context.informers.of(PERSISTENT_VOLUME_CLAIMS, indexers={CLASS: _classes_of_claim}),
            context.informers.of(PERSISTENT_VOLUMES, indexers={CLASS: _class_of_spec}),
        ]
        for users in self._users:
            self.follow(users, self._user_changed)

    def _is_used(self, obj: Object) -> bool:
        return any(users.by_index(CLASS, meta.name_of(obj)) for users in self._users)

    def _user_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            for name in _classes_of_claim(old):
                self.queue.add(name)


def _claims_of(obj: Object) -> Iterable[str]:
    """The keys of the claims that a pod holds."""
    pod = PodView(obj)
    if not pod.node_name:
        return
    for volume in pod.spec.get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            yield meta.join_key(pod.namespace, claim["claimName"])
        elif volume.get("ephemeral") and not pod.is_terminal:
            yield meta.join_key(pod.namespace, f"{pod.name}-{volume['name']}")


def _class_of_spec(obj: Object) -> Iterable[str]:
    if name := View(obj).spec.get("volumeAttributesClassName"):
        yield str(name)


def _classes_of_claim(obj: Object) -> Iterable[str]:
    """The class that a claim asks for and the one that it has."""
    yield from _class_of_spec(obj)
    if name := View(obj).status.get("currentVolumeAttributesClassName"):
        yield str(name)
