"""Namespace."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, text, value_of
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, MetadataChecks, Resource, Subresource
from pilothouse.kit.deferred import Deferred

KUBERNETES_FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


def _prepare_create(draft: Object) -> None:
    """The label with the name is given here again: a generated name was not known to defaulting."""
    metadata = draft["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}
    draft["status"] = {"phase": "Active"}
    spec = draft.setdefault("spec", {})
    finalizers = spec.get("finalizers") or []
    if KUBERNETES_FINALIZER not in finalizers:
        spec["finalizers"] = [*finalizers, KUBERNETES_FINALIZER]


def _prepare_update(draft: Object, old: View) -> None:
    """Finalizers of the spec change through `finalize` alone."""
    finalizers = (old.get("spec") or {}).get("finalizers")
    spec = draft.setdefault("spec", {})
    if finalizers is None:
        spec.pop("finalizers", None)
    else:
        spec["finalizers"] = list(finalizers)


def _is_held(obj: View) -> bool:
    return bool((obj.get("spec") or {}).get("finalizers"))


def _mark_deleted(draft: Object) -> None:
    draft["status"] = {**(draft.get("status") or {}), "phase": "Terminating"}


NAMESPACE = Resource(
    gvr.NAMESPACES,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(
        Subresource("finalize", ("update",)),
        STATUS,
    ),
    name_rule="dns-label",
    has_generation=False,
    selectable={"status.phase": value_of("status", "phase")},
    columns=(NAME, text("Status", "status", "phase", description="Active or Terminating."), AGE),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    is_held=_is_held,
    mark_deleted=_mark_deleted,
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.namespace", "validate_namespace"),
    validate_status_update=Deferred("pilothouse.api.validate.namespace", "validate_namespace_status_update"),
)
