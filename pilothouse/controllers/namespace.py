"""Empties a Namespace that is being deleted, pods first, and then lets it go.

What is left and why stands in its conditions. Source: upstream `pkg/controller/namespace`, KEP-5080 (ordered deletion).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api import meta, status
from pilothouse.api.gvr import GVR, NAMESPACES, PODS
from pilothouse.api.meta import Object
from pilothouse.api.views.namespace import NamespaceView
from pilothouse.client.client import Propagation
from pilothouse.client.discovery import Served, discover
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit.tasks import each

FINALIZER = "kubernetes"
GRACE_S = 2.0
"""How long after its deletion a namespace is emptied, so that other masters know of it and create nothing more."""
PODS_CHECK_S = 1.0
CONTENT_CHECK_S = 5.0
AT_ONCE = 8

_FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


@dataclass(frozen=True, slots=True)
class Remains:
    """What was still there after everything was told to go."""

    objects: Mapping[GVR, int] = field(default_factory=dict)
    finalizers: Mapping[str, int] = field(default_factory=dict)
    undiscovered: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        return not self.objects and not self.undiscovered and not self.errors


def conditions_of(present: Sequence[Mapping[str, object]], remains: Remains, now: float) -> list[Object]:
    """The conditions that tell of `remains`, in the place of those `present`."""
    troubles: dict[str, tuple[str, str]] = {}
    if remains.undiscovered:
        listed = ", ".join(f"{group}: {why}" for group, why in sorted(remains.undiscovered.items()))
        message = f"Discovery failed for some groups, {len(remains.undiscovered)} failing: {listed}"
        troubles["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", message)
    if remains.errors:
        listed = ", ".join(sorted(remains.errors))
        message = f"Failed to delete all resource types, {len(remains.errors)} remaining: {listed}"
        troubles["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    if remains.objects:
        listed = ", ".join(
            sorted(f"{gvr.plural}.{gvr.group} has {count} resource instances" for gvr, count in remains.objects.items())
        )
        message = f"Some resources are remaining: {listed}"
        troubles["NamespaceContentRemaining"] = ("SomeResourcesRemain", message)
    if remains.finalizers:
        listed = ", ".join(
            sorted(f"{name} in {count} resource instances" for name, count in remains.finalizers.items())
        )
        message = f"Some content in the namespace has finalizers remaining: {listed}"
        troubles["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
    conditions: Sequence[Mapping[str, object]] = present
    for type_, fine in _FINE.items():
        reason, message = troubles.get(type_, fine)
        value = "True" if type_ in troubles else "False"
        condition = {"type": type_, "status": value, "reason": reason, "message": message}
        conditions = meta.with_condition(conditions, condition, now)
    return [dict(condition) for condition in conditions]


class NamespaceController(Controller):
    """The control loop of Namespaces."""

    name = "namespace-controller"
    account = "namespace-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.informers.of(NAMESPACES)
        self.follow(self._namespaces, self._changed)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or not meta.is_deleting(namespace) or FINALIZER not in NamespaceView(namespace).finalizers:
            return None
        try:
            namespace = await self.client.get(NAMESPACES, "", key)
            if NamespaceView(namespace).phase != "Terminating":
                terminating = {**(namespace.get("status") or {}), "phase": "Terminating"}
                namespace = await self.client.update_status(NAMESPACES, {**namespace, "status": terminating})
            remains = await self._empty(key)
            view = NamespaceView(namespace)
            conditions = conditions_of(view.conditions, remains, self.clock.now())
            if conditions != list(view.conditions):
                changed = {**namespace, "status": {**view.status, "conditions": conditions}}
                namespace = await self.client.update_status(NAMESPACES, changed)
            if not remains.is_empty:
                return PODS_CHECK_S if PODS in remains.objects else CONTENT_CHECK_S
            left = [name for name in NamespaceView(namespace).finalizers if name != FINALIZER]
            finalized = {**namespace, "spec": {**namespace["spec"], "finalizers": left}}
            await self.client.update(NAMESPACES, finalized, subresource="finalize")
        except status.NotFound:
            return None
        return None

    async def _empty(self, namespace: str) -> Remains:
        """Delete everything in `namespace`; while pods are left, nothing else, so that what they use outlives them."""
        found = await discover(self.client)
        resources = [
            served for served in found.preferred() if served.gvr.namespaced and {"list", "delete"} <= served.verbs
        ]
        pods = [served for served in resources if served.gvr.group_resource == "pods"]
        others = [served for served in resources if served.gvr.group_resource != "pods"]
        remains = await self._delete_all(namespace, pods)
        if not remains.objects and not remains.errors:
            remains = await self._delete_all(namespace, others)
        return Remains(remains.objects, remains.finalizers, found.failures, remains.errors)

    async def _delete_all(self, namespace: str, resources: Sequence[Served]) -> Remains:
        objects: dict[GVR, int] = {}
        finalizers: Counter[str] = Counter()
        errors: list[str] = []
        for served, result in await each(resources, lambda one: self._delete(namespace, one), limit=AT_ONCE):
            if isinstance(result, status.StatusError):
                errors.append(result.message)
            elif isinstance(result, Exception):
                raise result
            elif result:
                objects[served.gvr] = len(result)
                finalizers.update(name for item in result for name in item["metadata"].get("finalizers") or ())
        return Remains(objects, finalizers, {}, errors)

    async def _delete(self, namespace: str, served: Served) -> Sequence[Object]:
        """Delete all objects of one kind; returns what is still there."""
        gvr = served.gvr
        try:
            listing = await self.client.list(gvr, namespace, metadata_only=True)
            if not listing.items:
                return ()
            if "deletecollection" in served.verbs:
                await self.client.delete_collection(gvr, namespace, propagation=Propagation.BACKGROUND)
            else:
                for item in listing.items:
                    await self._delete_one(gvr, item)
            return (await self.client.list(gvr, namespace, metadata_only=True)).items
        except (status.NotFound, status.MethodNotAllowed):
            # No longer served: nobody can reach such objects, nor can they be deleted.
            return ()

    async def _delete_one(self, gvr: GVR, item: Object) -> None:
        try:
            await self.client.delete(
                gvr, meta.namespace_of(item), meta.name_of(item), propagation=Propagation.BACKGROUND
            )
        except status.NotFound:
            return

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and meta.is_deleting(new) and (old is None or not meta.is_deleting(old)):
            self.queue.add_after(meta.key_of(new), GRACE_S)
