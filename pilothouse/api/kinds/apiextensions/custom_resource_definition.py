"""CustomResourceDefinition. What it takes to judge one is loaded when there is one."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import CREATED_AT, NAME, View, at
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError
from pilothouse.api.resource import STATUS, Resource

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def _load_nested(draft: Object) -> None:
    """Schemas inside `items` and `additionalProperties`, which the types leave open, are loaded like all others."""
    from pilothouse.api.structural.nested import load_nested

    for version in at(draft, "spec", "versions") or ():
        schema = at(version, "schema", "openAPIV3Schema")
        if schema:
            load_nested(schema)


def _prepare_create(draft: Object) -> None:
    clears_status(gvr.CUSTOM_RESOURCE_DEFINITIONS)(draft)
    _record_stored_version(draft)
    # Upstream's type writes the list though there is none yet.
    draft["status"] = {"conditions": None, **(draft.get("status") or {})}


def _prepare_update(draft: Object, old: View) -> None:
    _record_stored_version(draft)


def _record_stored_version(draft: Object) -> None:
    """A version in which objects were ever stored stays listed until somebody has migrated them."""
    stored = next((found["name"] for found in at(draft, "spec", "versions") or () if found.get("storage")), None)
    listed = at(draft, "status", "storedVersions") or []
    if stored is not None and stored not in listed:
        draft["status"] = {**(draft.get("status") or {}), "storedVersions": [*listed, stored]}


def _validate(definition: View) -> Sequence[FieldError]:
    from pilothouse.api.validate import custom_resource_definition

    return custom_resource_definition.validate(definition)


def _validate_update(new: View, old: View) -> Sequence[FieldError]:
    from pilothouse.api.validate import custom_resource_definition

    return custom_resource_definition.validate_update(new, old)


def _validate_status_update(new: View, old: View) -> Sequence[FieldError]:
    from pilothouse.api.validate import custom_resource_definition

    return custom_resource_definition.validate_status_update(new, old)


def _warnings(definition: View) -> Sequence[str]:
    from pilothouse.api.validate import custom_resource_definition

    return custom_resource_definition.warnings(definition)


def _update_warnings(new: View, old: View) -> Sequence[str]:
    from pilothouse.api.validate import custom_resource_definition

    return custom_resource_definition.update_warnings(new, old)


def _stays_for_cleanup(definition: View) -> bool:
    """A definition whose deletion begins stays until its objects are gone; from then on its finalizer holds it."""
    return "deletionTimestamp" not in definition["metadata"]


def _begin_cleanup(draft: Object) -> None:
    metadata = draft["metadata"]
    # Upstream begins the deletion in a way of its own, in which it does not count as a change.
    metadata["generation"] -= 1
    finalizers = metadata.get("finalizers") or []
    if CLEANUP_FINALIZER in finalizers:
        return
    metadata["finalizers"] = [*finalizers, CLEANUP_FINALIZER]
    pending = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": metadata["deletionTimestamp"],
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    status = draft.get("status") or {}
    draft["status"] = {**status, "conditions": [*(status.get("conditions") or ()), pending]}


CUSTOM_RESOURCE_DEFINITION = Resource(
    gvr.CUSTOM_RESOURCE_DEFINITIONS,
    knows_finalizers=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(STATUS,),
    unconditional_update=False,
    columns=(NAME, CREATED_AT),
    default=_load_nested,
    prepare_create=_prepare_create,
    is_held=_stays_for_cleanup,
    mark_deleted=_begin_cleanup,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    validate_status_update=_validate_status_update,
    warnings=_warnings,
    update_warnings=_update_warnings,
    ratchets=True,
)
