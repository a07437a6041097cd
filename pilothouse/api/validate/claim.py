"""PersistentVolumeClaims and the templates from which they are made. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.path import FieldError, Path, Shown, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.difference import difference
from pilothouse.api.validate.metadata import check_label_selector, check_template_metadata
from pilothouse.api.validate.values import (
    IMMUTABLE,
    NOT_POSITIVE,
    Errors,
    Part,
    check_immutable,
    check_name,
    check_present,
)

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_ONLY_RESOURCES = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_RESIZE_STATES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending",
)  # fmt: skip
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_SPEC = Path("spec")
_STATUS = Path("status")


def check_access_modes(modes: list[str], path: Path, errors: Errors) -> None:
    for mode in modes:
        if mode not in ACCESS_MODES:
            errors.append(not_supported(path, mode, ACCESS_MODES))
    if "ReadWriteOncePod" in modes and any(mode in ACCESS_MODES[:3] for mode in modes):
        errors.append(field_forbidden(path, "may not use ReadWriteOncePod with other access modes"))


def check_positive_storage(value: str, path: Path, errors: Errors) -> None:
    """An amount of storage: more than none."""
    if quantity.to_milli(value) <= 0:
        errors.append(invalid(path, str(value), NOT_POSITIVE))


def check_claim_spec(spec: Part, path: Path, errors: Errors) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        errors.append(required(path.child("accessModes"), "at least 1 access mode is required"))
    check_label_selector(spec.get("selector"), path.child("selector"), errors)
    check_access_modes(modes, path.child("accessModes"), errors)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errors.append(required(path.child("resources").key("storage")))
    else:
        check_positive_storage(storage, path.child("resources").key("storage"), errors)
    for field in ("storageClassName", "volumeAttributesClassName"):
        if name := spec.get(field):
            check_name(names.dns_subdomain, name, path.child(field), errors)
    if "volumeMode" in spec and spec["volumeMode"] not in VOLUME_MODES:
        errors.append(not_supported(path.child("volumeMode"), spec["volumeMode"], VOLUME_MODES))
    _check_data_sources(spec, path, errors)


def _check_data_sources(spec: Part, path: Path, errors: Errors) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, part in (("dataSource", source), ("dataSourceRef", reference)):
        if part is None:
            continue
        here = path.child(field)
        check_present(part, "name", here, errors)
        check_present(part, "kind", here, errors)
        group = part.get("apiGroup") or ""
        if not group and part.get("kind") != "PersistentVolumeClaim":
            text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            errors.append(invalid(here, part.get("kind", ""), text))
        if group:
            check_name(names.dns_subdomain, group, here.child("apiGroup"), errors)
    if reference is not None and (namespace := reference.get("namespace")):
        check_name(names.dns_label, namespace, path.child("dataSourceRef").child("namespace"), errors)
        if source is not None:
            text = "may not be specified when dataSourceRef.namespace is specified"
            errors.append(invalid(path, str(path.child("dataSource")), text))
    elif (
        source is not None
        and reference is not None
        and source != {k: v for k, v in reference.items() if k != "namespace"}
    ):
        errors.append(invalid(path, Shown("{}"), "must match dataSourceRef"))


def check_claim_template(template: Part, path: Path, errors: Errors) -> None:
    check_template_metadata(template.get("metadata") or {}, path.child("metadata"), errors)
    check_claim_spec(template.get("spec") or {}, path.child("spec"), errors)


def validate_claim(claim: Part) -> list[FieldError]:
    errors: Errors = []
    check_claim_spec(claim.get("spec") or {}, _SPEC, errors)
    return errors


def validate_claim_update(new: Part, old: Part) -> list[FieldError]:
    """A claim is what it was, but: it may be bound, a class may be given once, and once bound its size and attributes class may change."""
    errors: Errors = []
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    status = old.get("status") or {}
    _check_class_annotation(new, old, errors)
    changed, was = dict(spec), dict(before)
    if not was.get("volumeName"):
        was["volumeName"] = changed.get("volumeName")
    if was.get("storageClassName") is None:
        annotation = (old["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
        if annotation is None or annotation == changed.get("storageClassName"):
            was["storageClassName"] = changed.get("storageClassName")
    if (new.get("status") or {}).get("phase") == "Bound":
        changed["resources"] = _with_storage(spec, _storage(before))
        changed["volumeAttributesClassName"] = was.get("volumeAttributesClassName")
    if _given(changed) != _given(was):
        errors.append(field_forbidden(_SPEC, f"{_ONLY_RESOURCES}\n{difference(_given(was), _given(changed))}"))
    size = quantity.to_milli(_storage(spec) or 0)
    if size < quantity.to_milli(_storage(before) or 0) and size <= quantity.to_milli(
        (status.get("capacity") or {}).get("storage", 0)
    ):
        text = "field can not be less than status.capacity"
        errors.append(field_forbidden(_SPEC.child("resources", "requests", "storage"), text))
    check_immutable(spec.get("volumeMode"), before.get("volumeMode"), Path("volumeMode"), errors)
    attributes = spec.get("volumeAttributesClassName")
    if (
        attributes != before.get("volumeAttributesClassName")
        and "currentVolumeAttributesClassName" in status
        and not attributes
    ):
        what = "nil" if attributes is None else "empty string"
        text = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        errors.append(field_forbidden(_SPEC.child("volumeAttributesClassName"), text))
    return errors


def _check_class_annotation(new: Part, old: Part, errors: Errors) -> None:
    """The annotation that named a class before there was a field may not change, but a field of the same value may replace it."""
    now = (new["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    was = (old["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    replaced = was is not None and now is None and (new.get("spec") or {}).get("storageClassName") == was
    if now != was and not replaced:
        errors.append(invalid(Path("metadata").child("annotations").key(_CLASS_ANNOTATION), now or "", IMMUTABLE))


def _storage(spec: Part) -> Any:
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


def _with_storage(spec: Part, storage: Any) -> dict[str, Any]:
    resources = dict(spec.get("resources") or {})
    resources["requests"] = {**(resources.get("requests") or {}), "storage": storage}
    return resources


def _given(spec: Part) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if value is not None}


def validate_claim_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    if not (new.get("spec") or {}).get("accessModes"):
        errors.append(required(_SPEC.child("accessModes")))
    status = new.get("status") or {}
    for resource, amount in (status.get("capacity") or {}).items():
        _check_basic(amount, _STATUS.child("capacity").key(resource), errors)
    path = _STATUS.child("allocatedResourceStatuses")
    for resource, state in (status.get("allocatedResourceStatuses") or {}).items():
        _check_resource_key(resource, path, errors)
        if state not in _RESIZE_STATES:
            # The resource is shown where one would expect its state.
            errors.append(not_supported(path, resource, sorted(_RESIZE_STATES)))
    path = _STATUS.child("allocatedResources")
    for resource, amount in (status.get("allocatedResources") or {}).items():
        count = len(errors)
        _check_resource_key(resource, path, errors)
        if len(errors) == count:
            _check_basic(amount, path.key(resource), errors)
    return errors


def _check_resource_key(resource: str, path: Path, errors: Errors) -> None:
    count = len(errors)
    check_name(names.label_key, resource, path, errors)
    is_native = "/" not in resource or "kubernetes.io/" in resource
    if len(errors) == count and is_native and resource != "storage":
        errors.append(not_supported(path, resource, ("storage",)))


def _check_basic(amount: str, path: Path, errors: Errors) -> None:
    whole = quantity.to_int(amount)
    if whole < 0:
        errors.append(invalid(path, whole, "must be a valid resource quantity"))
