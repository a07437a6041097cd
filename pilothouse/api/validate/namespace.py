"""Namespaces. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from pilothouse.api.path import FieldError, Path, invalid
from pilothouse.api.validate.metadata import check_label_name
from pilothouse.api.validate.values import Errors, Part

_STANDARD = ("kubernetes", "orphan", "foregroundDeletion")
_FINALIZERS = Path("spec.finalizers")


def validate_namespace(namespace: Part) -> list[FieldError]:
    errors: Errors = []
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or ():
        _check_finalizer(finalizer, _FINALIZERS, errors)
    return errors


def validate_namespace_status_update(new: Part, old: Part) -> list[FieldError]:
    """The phase follows the deletion."""
    errors: Errors = []
    phase, deleting = (new.get("status") or {}).get("phase", ""), "deletionTimestamp" in new["metadata"]
    if phase != ("Terminating" if deleting else "Active"):
        text = (
            "may only be 'Terminating' if `deletionTimestamp` is not empty"
            if deleting
            else "may only be 'Active' if `deletionTimestamp` is empty"
        )
        errors.append(invalid(Path("status.Phase"), phase, text))
    return errors


def validate_namespace_finalize(new: Part, old: Part) -> list[FieldError]:
    """The subresource `finalize`, through which finalizers are removed."""
    errors: Errors = []
    for i, finalizer in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        _check_finalizer(finalizer, _FINALIZERS.index(i), errors)
    return errors


def _check_finalizer(name: str, path: Path, errors: Errors) -> None:
    check_label_name(name, path, errors)
    if "/" not in name and name not in _STANDARD:
        text = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(invalid(path, name, text))
