"""PersistentVolumes and StorageClasses. Source: `pkg/apis/core/validation/validation.go`, `pkg/apis/storage/validation`."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.claim import VOLUME_MODES, check_access_modes, check_positive_storage
from pilothouse.api.validate.difference import difference
from pilothouse.api.validate.metadata import check_label_name
from pilothouse.api.validate.scheduling import check_node_selector
from pilothouse.api.validate.storage_source import ISCSI_NAME_TOO_LONG, VOLUME_SOURCES, check_one_source
from pilothouse.api.validate.values import Errors, Part, check_immutable, check_immutable_field, check_name
from pilothouse.api.validate.volume import check_host_path

_SOURCES = {"hostPath": check_host_path, **VOLUME_SOURCES}
_RECLAIM = ("Delete", "Recycle", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")
_MAX_PARAMETERS, _MAX_PARAMETER_BYTES = 512, 256 * 1024
_SPEC = Path("spec")


def validate_persistent_volume(volume: Part) -> list[FieldError]:
    errors: Errors = []
    spec = volume.get("spec") or {}
    modes, capacity = spec.get("accessModes") or [], spec.get("capacity") or {}
    if not modes:
        errors.append(required(_SPEC.child("accessModes")))
    check_access_modes(modes, _SPEC.child("accessModes"), errors)
    if not capacity:
        errors.append(required(_SPEC.child("capacity")))
    if "storage" not in capacity or len(capacity) > 1:
        errors.append(not_supported(_SPEC.child("capacity"), capacity, ("storage",)))
    for name, amount in capacity.items():
        if quantity.to_milli(amount) <= 0 or name == "storage":
            check_positive_storage(amount, _SPEC.child("capacity").key(name), errors)
    if (policy := spec.get("persistentVolumeReclaimPolicy")) and policy not in _RECLAIM:
        errors.append(not_supported(_SPEC.child("persistentVolumeReclaimPolicy"), policy, _RECLAIM))
    _check_affinity(spec, errors)
    source = check_one_source(spec, _SOURCES, _SPEC, errors, "may not specify more than 1 volume type")
    if not source:
        errors.append(required(_SPEC, "must specify a volume type"))
    _check_source_name(source, spec, volume["metadata"].get("name", ""), errors)
    if storage_class := spec.get("storageClassName"):
        check_name(names.dns_subdomain, storage_class, _SPEC.child("storageClassName"), errors)
    if "volumeMode" in spec and spec["volumeMode"] not in VOLUME_MODES:
        errors.append(not_supported(_SPEC.child("volumeMode"), spec["volumeMode"], VOLUME_MODES))
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        if not attributes:
            errors.append(required(_SPEC.child("volumeAttributesClassName"), "an empty string is disallowed"))
        else:
            check_name(names.dns_subdomain, attributes, _SPEC.child("volumeAttributesClassName"), errors)
        if "csi" not in spec:
            text = "has to be specified when using volumeAttributesClassName"
            errors.append(required(_SPEC.child("csi"), text))
    return errors


def _check_affinity(spec: Part, errors: Errors) -> None:
    affinity, path = spec.get("nodeAffinity"), _SPEC.child("nodeAffinity")
    if affinity is None:
        if "local" in spec:
            errors.append(required(path, "Local volume requires node affinity"))
    elif affinity.get("required") is None:
        errors.append(required(path.child("required"), "must specify required node constraints"))
    else:
        check_node_selector(affinity["required"], path.child("required"), errors)


def _check_source_name(source: str, spec: Part, name: str, errors: Errors) -> None:
    if source == "iscsi":
        portal = spec["iscsi"].get("targetPortal", "")
        if "initiatorName" in spec["iscsi"] and len(f"{name}:{portal}") > 64:
            errors.append(invalid(_SPEC.child("iscsi", "targetportal"), portal, ISCSI_NAME_TOO_LONG))
    is_root = source == "hostPath" and posixpath.normpath(spec["hostPath"].get("path", "")) == "/"
    if is_root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(field_forbidden(_SPEC.child("persistentVolumeReclaimPolicy"), text))


def validate_persistent_volume_update(new: Part, old: Part) -> list[FieldError]:
    """Where a volume's data is never changes."""
    errors: Errors = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    now, then = _sources(spec, before), _sources(before, before)
    if now != then:
        text = f"spec.persistentvolumesource is immutable after creation\n{difference(then, now)}"
        errors.append(field_forbidden(_SPEC.child("persistentvolumesource"), text))
    check_immutable(spec.get("volumeMode"), before.get("volumeMode"), Path("volumeMode"), errors)
    if "volumeAttributesClassName" in before and "volumeAttributesClassName" not in spec:
        text = "update from non-nil value to nil is forbidden"
        errors.append(field_forbidden(_SPEC.child("volumeAttributesClassName"), text))
    return errors


def _sources(spec: Part, before: Part) -> dict[str, Any]:
    """The sources, without a secret for growing a CSI volume that was not there before."""
    found = {field: spec[field] for field in _SOURCES if field in spec}
    if "csi" in found and "controllerExpandSecretRef" not in (before.get("csi") or {}):
        found["csi"] = {key: value for key, value in found["csi"].items() if key != "controllerExpandSecretRef"}
    return found


def validate_storage_class(storage_class: Part) -> list[FieldError]:
    errors: Errors = []
    provisioner = storage_class.get("provisioner", "")
    if not provisioner:
        errors.append(required(Path("provisioner")))
    else:
        check_name(names.label_key, provisioner.lower(), Path("provisioner"), errors)
    check_parameters(storage_class.get("parameters") or {}, Path("parameters"), errors)
    policy, binding = storage_class.get("reclaimPolicy"), storage_class.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        errors.append(not_supported(Path("reclaimPolicy"), policy, ("Delete", "Retain")))
    if binding is None:
        errors.append(required(Path("volumeBindingMode")))
    elif binding not in _BINDING:
        errors.append(not_supported(Path("volumeBindingMode"), binding, _BINDING))
    for i, term in enumerate(storage_class.get("allowedTopologies") or ()):
        seen: set[str] = set()
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            here = Path("allowedTopologies").index(i).child("matchLabelExpressions").index(j)
            _check_topology(expression, here, errors)
            key = expression.get("key", "")
            if key in seen:
                errors.append(duplicate(here.child("key"), key))
            seen.add(key)
    return errors


def _check_topology(expression: Part, path: Path, errors: Errors) -> None:
    values = expression.get("values") or ()
    if not values:
        errors.append(required(path.child("values")))
    for i, value in enumerate(values):
        if value in values[:i]:
            errors.append(duplicate(path.child("values").index(i), value))
    check_label_name(expression.get("key", ""), path.child("key"), errors)


def check_parameters(parameters: Mapping[str, str], path: Path, errors: Errors) -> None:
    if len(parameters) > _MAX_PARAMETERS:
        errors.append(too_long(path, _MAX_PARAMETERS))
        return
    if "" in parameters:
        errors.append(invalid(path, "", "field can not be empty."))
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _MAX_PARAMETER_BYTES:
        errors.append(too_long(path, _MAX_PARAMETER_BYTES))


def validate_storage_class_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        check_immutable_field(new, old, field, Path(), errors)
    return errors
