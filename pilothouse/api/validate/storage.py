"""PersistentVolumes and StorageClasses. Source: `pkg/apis/core/validation/validation.go`, `pkg/apis/storage/validation`."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.claim import VOLUME_MODES, check_access_modes, check_positive_storage
from pilothouse.api.validate.difference import difference
from pilothouse.api.validate.metadata import check_label_name
from pilothouse.api.validate.scheduling import check_node_selector
from pilothouse.api.validate.shown import NODE_SELECTOR_TERM, maybe, shown
from pilothouse.api.validate.storage_source import ISCSI_NAME_TOO_LONG, VOLUME_SOURCES, check_one_source
from pilothouse.api.validate.values import IMMUTABLE, Errors, Part, check_immutable, check_immutable_field, check_name
from pilothouse.api.validate.volume import check_host_path

_SOURCES = {"hostPath": check_host_path, **VOLUME_SOURCES}
_RECLAIM = ("Delete", "Recycle", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")
_MAX_PARAMETERS, _MAX_PARAMETER_BYTES = 512, 256 * 1024
_INLINE = "in the context of inline volumes"
_SPEC = Path("spec")


def validate_persistent_volume(volume: Part) -> list[FieldError]:
    errors: Errors = []
    spec = volume.get("spec") or {}
    modes, capacity = spec.get("accessModes") or [], spec.get("capacity") or {}
    _check_modes(modes, _SPEC, errors)
    if not capacity:
        errors.append(required(_SPEC.child("capacity")))
    if "storage" not in capacity or len(capacity) > 1:
        errors.append(not_supported(_SPEC.child("capacity"), spec.get("capacity"), ("storage",)))
    for name, amount in capacity.items():
        here = _SPEC.child("capacity").key(name)
        if (whole := quantity.to_int(amount)) < 0:
            errors.append(invalid(here, whole, "must be a valid resource quantity"))
        check_positive_storage(amount, here, errors)
    if (policy := spec.get("persistentVolumeReclaimPolicy")) and policy not in _RECLAIM:
        errors.append(not_supported(_SPEC.child("persistentVolumeReclaimPolicy"), policy, _RECLAIM))
    name = volume["metadata"].get("name", "")
    _check_affinity(spec, errors)
    _check_source(spec, name, _SPEC, errors)
    _check_root(spec, _SPEC, errors)
    if storage_class := spec.get("storageClassName"):
        check_name(names.dns_subdomain, storage_class, _SPEC.child("storageClassName"), errors)
    if "volumeMode" in spec and spec["volumeMode"] not in VOLUME_MODES:
        errors.append(not_supported(_SPEC.child("volumeMode"), spec["volumeMode"], VOLUME_MODES))
    _check_attributes_class(spec, _SPEC, errors)
    return errors


def check_inline_volume(spec: Part, path: Path, errors: Errors) -> None:
    """The spec of a volume that is no PersistentVolume of its own: it says only where the data is, by CSI."""
    for field in ("claimRef", "capacity"):
        if spec.get(field):
            errors.append(field_forbidden(path.child(field), f"may not be specified {_INLINE}"))
    if "csi" not in spec:
        errors.append(required(path.child("csi"), f"has to be specified {_INLINE}"))
    _check_modes(spec.get("accessModes") or [], path, errors)
    if spec.get("persistentVolumeReclaimPolicy", "Retain") not in ("", "Retain"):
        text = f"may only be Retain {_INLINE}"
        errors.append(field_forbidden(path.child("persistentVolumeReclaimPolicy"), text))
    if "nodeAffinity" in spec:
        errors.append(field_forbidden(path.child("nodeAffinity"), f"may not be specified {_INLINE}"))
    _check_source(spec, "", path, errors)
    _check_root(spec, path, errors)
    if spec.get("storageClassName"):
        errors.append(field_forbidden(path.child("storageClassName"), f"may not be specified {_INLINE}"))
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        text = f"may not specify volumeMode other than Filesystem {_INLINE}"
        errors.append(field_forbidden(path.child("volumeMode"), text))


def _check_modes(modes: list[str], path: Path, errors: Errors) -> None:
    if not modes:
        errors.append(required(path.child("accessModes")))
    check_access_modes(modes, path.child("accessModes"), errors)


def _check_attributes_class(spec: Part, path: Path, errors: Errors) -> None:
    attributes = spec.get("volumeAttributesClassName")
    if attributes is None:
        return
    if not attributes:
        errors.append(required(path.child("volumeAttributesClassName"), "an empty string is disallowed"))
    else:
        check_name(names.dns_subdomain, attributes, path.child("volumeAttributesClassName"), errors)
    if "csi" not in spec:
        errors.append(required(path.child("csi"), "has to be specified when using volumeAttributesClassName"))


def _check_affinity(spec: Part, errors: Errors) -> None:
    affinity, path = spec.get("nodeAffinity"), _SPEC.child("nodeAffinity")
    if affinity is None:
        return
    if affinity.get("required") is None:
        errors.append(required(path.child("required"), "must specify required node constraints"))
    else:
        check_node_selector(affinity["required"], path.child("required"), errors)


def _check_source(spec: Part, name: str, path: Path, errors: Errors) -> None:
    source = check_one_source(spec, _SOURCES, path, errors, "may not specify more than 1 volume type")
    if not source:
        errors.append(required(path, "must specify a volume type"))
    if source == "iscsi":
        portal = spec["iscsi"].get("targetPortal", "")
        if "initiatorName" in spec["iscsi"] and len(f"{name}:{portal}") > 64:
            errors.append(invalid(path.child("iscsi", "targetportal"), portal, ISCSI_NAME_TOO_LONG))


def _check_root(spec: Part, path: Path, errors: Errors) -> None:
    is_root = "hostPath" in spec and posixpath.normpath(spec["hostPath"].get("path", "")) == "/"
    if is_root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(field_forbidden(path.child("persistentVolumeReclaimPolicy"), text))


def validate_persistent_volume_update(new: Part, old: Part) -> list[FieldError]:
    """Where a volume's data is never changes."""
    errors: Errors = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    now, then = _sources(spec, before), _sources(before, before)
    if now != then:
        text = f"spec.persistentvolumesource is immutable after creation\n{difference(then, now)}"
        errors.append(field_forbidden(_SPEC.child("persistentvolumesource"), text))
    check_immutable(spec.get("volumeMode"), before.get("volumeMode"), Path("volumeMode"), errors)
    affinity = spec.get("nodeAffinity")
    if (earlier := before.get("nodeAffinity")) is not None and _in_new_words(affinity, earlier) != earlier:
        text = f"{IMMUTABLE}, except for updating from beta label to GA"
        errors.append(
            invalid(Path("nodeAffinity"), shown(affinity, _NODE_AFFINITY) if affinity is not None else None, text)
        )
    if "volumeAttributesClassName" in before and "volumeAttributesClassName" not in spec:
        text = "update from non-nil value to nil is forbidden"
        errors.append(field_forbidden(_SPEC.child("volumeAttributesClassName"), text))
    return errors


_NODE_AFFINITY = {"Required": maybe({"NodeSelectorTerms": [NODE_SELECTOR_TERM]})}
_NEW_WORDS = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
}
"""Labels of nodes by what they are called now."""


def _in_new_words(affinity: Any, earlier: Any) -> Any:
    """`affinity` with the older names of labels where `earlier` has them and it has the newer ones."""
    match affinity, earlier:
        case dict(), dict():
            if "key" in affinity and affinity["key"] == _NEW_WORDS.get(earlier.get("key", "")):
                affinity = {**affinity, "key": earlier["key"]}
            return {key: _in_new_words(value, earlier.get(key)) for key, value in affinity.items()}
        case list(), list() if len(affinity) == len(earlier):
            return [_in_new_words(one, other) for one, other in zip(affinity, earlier, strict=True)]
        case _:
            return affinity


def _sources(spec: Part, before: Part) -> dict[str, Any]:
    """The sources, without a secret for growing a CSI volume that was not there before."""
    found = {field: spec[field] for field in _SOURCES if field in spec}
    if "csi" in found and "controllerExpandSecretRef" not in (before.get("csi") or {}):
        found["csi"] = {key: value for key, value in found["csi"].items() if key != "controllerExpandSecretRef"}
    return found


def validate_storage_class(storage_class: Part) -> list[FieldError]:
    errors: Errors = []
    check_provisioner(storage_class.get("provisioner", ""), Path("provisioner"), errors)
    check_parameters(storage_class.get("parameters") or {}, Path("parameters"), errors)
    policy, binding = storage_class.get("reclaimPolicy"), storage_class.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        errors.append(not_supported(Path("reclaimPolicy"), policy, ("Delete", "Retain")))
    if binding is None:
        errors.append(required(Path("volumeBindingMode")))
    elif binding not in _BINDING:
        errors.append(not_supported(Path("volumeBindingMode"), binding, _BINDING))
    _check_topologies(storage_class.get("allowedTopologies") or (), Path("allowedTopologies"), errors)
    return errors


def check_provisioner(name: str, path: Path, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
    else:
        check_name(names.label_key, name.lower(), path, errors)


def _check_topologies(terms: Sequence[Part], path: Path, errors: Errors) -> None:
    # Upstream compares each term also with an empty one for every term there is.
    known: list[dict[str, set[str]]] = [{} for _ in terms]
    for i, term in enumerate(terms):
        here, values = path.index(i).child("matchLabelExpressions"), {}
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            _check_topology(expression, here.index(j), errors)
            key = expression.get("key", "")
            if key in values:
                errors.append(duplicate(here.index(j).child("key"), key))
            values[key] = set(expression.get("values") or ())
        errors.extend(duplicate(here, "") for other in known if other == values)
        known.append(values)


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
