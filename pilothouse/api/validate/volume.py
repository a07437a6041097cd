"""Volumes of a pod. Source: `pkg/apis/core/validation/validation.go`.

A volume has one source; `_SOURCES` names every source and its check. Sources that a PersistentVolume shares are in `storage_source`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pilothouse.api import names, quantity
from pilothouse.api.path import Path, duplicate, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate import projection, storage_source
from pilothouse.api.validate.claim import check_claim_template
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_descending_path,
    check_file_mode,
    check_name,
    check_no_steps_back,
    check_present,
)

Check = Callable[[Part, Path, Errors], None]

_MORE_THAN_ONE = "may not specify more than 1 volume type"
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi", "glusterfs", "flocker",
    "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc", "flexVolume", "configMap", "azureFile",
    "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral",
    "image",
)  # fmt: skip
"""The first of several sources is the one that counts."""
_SHOWN = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
"""How upstream spells some of the sources that are one too many."""
PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def check_volumes(
    volumes: Sequence[Part], pod_name: str, path: Path, errors: Errors, *, is_pod: bool
) -> dict[str, Part]:
    """Checks the volumes and returns those without fault by name, for mounts to refer to."""
    valid: dict[str, Part] = {}
    created = {f"{pod_name}-{each.get('name', '')}" for each in volumes if "ephemeral" in each} if pod_name else set()
    for i, volume in enumerate(volumes):
        here = path.index(i)
        count = len(errors)
        _check_source(volume, pod_name, here, errors, is_pod)
        name = volume.get("name", "")
        if not name:
            errors.append(required(here.child("name")))
        elif messages := names.dns_label(name):
            errors.extend(invalid(here.child("name"), name, text) for text in messages)
        if name in valid:
            errors.append(duplicate(here.child("name"), name))
        if len(errors) == count:
            valid[name] = volume
        claim = volume.get("persistentVolumeClaim")
        if claim is not None and claim.get("claimName") in created:
            text = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(here.child("persistentVolumeClaim").child("claimName"), claim["claimName"], text))
    return valid


def _check_source(volume: Part, pod_name: str, path: Path, errors: Errors, is_pod: bool) -> None:
    fields = [field for field in volume if field in _SOURCES]
    if not fields:
        errors.append(required(path, "must specify a volume type"))
        return
    if len(fields) > 1:
        fields.sort(key=_ORDER.index)
    field = fields[0]
    source = volume[field]
    _SOURCES[field](source, path.child("persistentDisk" if field == "gcePersistentDisk" else field), errors)
    if field in ("iscsi", "ephemeral", "image"):
        _check_named_source(field, source, volume.get("name", ""), pod_name, path, errors, is_pod)
    for other in fields[1:]:
        errors.append(field_forbidden(path.child(_SHOWN.get(other, other)), _MORE_THAN_ONE))


def _check_named_source(
    field: str, source: Part, name: str, pod_name: str, path: Path, errors: Errors, is_pod: bool
) -> None:
    """What a source must obey together with the volume's name, or in a pod but not in a template."""
    if field == "image":
        if is_pod:
            check_present(source, "reference", path.child("image"), errors)
    elif field == "iscsi":
        if "initiatorName" in source and len(f"{name}:{source.get('targetPortal', '')}") > 64:
            errors.append(invalid(path.child("name"), name, storage_source.ISCSI_NAME_TOO_LONG))
    elif pod_name and name:
        claim = f"{pod_name}-{name}"
        for text in names.dns_subdomain(claim):
            errors.append(invalid(path.child("name"), name, f'PVC name "{claim}": {text}'))


def _check_empty_dir(source: Part, path: Path, errors: Errors) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.to_milli(limit) < 0:
        errors.append(field_forbidden(path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))


def check_host_path(source: Part, path: Path, errors: Errors) -> None:
    if not check_present(source, "path", path, errors):
        return
    check_no_steps_back(source["path"], path.child("path"), errors)
    type_ = source.get("type", "")
    if type_ not in _HOST_PATH_TYPES:
        errors.append(not_supported(path.child("type"), type_, _HOST_PATH_TYPES))


def _check_git_repo(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "repository", path, errors)
    check_descending_path(source.get("directory", ""), path.child("directory"), errors)


def _check_secret(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "secretName", path, errors)
    _check_mode_and_items(source, path, errors)


def _check_config_map(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "name", path, errors)
    _check_mode_and_items(source, path, errors)


def _check_mode_and_items(source: Part, path: Path, errors: Errors) -> None:
    check_file_mode(source, "defaultMode", path, errors)
    for i, item in enumerate(source.get("items") or ()):
        projection.check_key_to_path(item, path.child("items").index(i), errors)


def _check_claim(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "claimName", path, errors)


def _check_downward(source: Part, path: Path, errors: Errors) -> None:
    check_file_mode(source, "defaultMode", path, errors)
    for item in source.get("items") or ():
        projection.check_downward_file(item, path, errors)


def _check_csi(source: Part, path: Path, errors: Errors) -> None:
    storage_source.check_csi_driver_name(source.get("driver", ""), path.child("driver"), errors)
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        name = secret.get("name", "")
        if not name:
            errors.append(required(path.child("nodePublishSecretRef", "name")))
        else:
            check_name(names.dns_subdomain, name, path.child("name"), errors)


def _check_ephemeral(source: Part, path: Path, errors: Errors) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        errors.append(required(path.child("volumeClaimTemplate")))
    else:
        check_claim_template(template, path.child("volumeClaimTemplate"), errors)


def _check_image(source: Part, path: Path, errors: Errors) -> None:
    policy = source.get("pullPolicy", "")
    if not policy:
        errors.append(required(path.child("pullPolicy")))
    elif policy not in PULL_POLICIES:
        errors.append(not_supported(path.child("pullPolicy"), policy, PULL_POLICIES))


_SOURCES: Mapping[str, Check] = {
    "emptyDir": _check_empty_dir,
    "hostPath": check_host_path,
    "gitRepo": _check_git_repo,
    "secret": _check_secret,
    "configMap": _check_config_map,
    "persistentVolumeClaim": _check_claim,
    "downwardAPI": _check_downward,
    "projected": projection.check_projected,
    "csi": _check_csi,
    "ephemeral": _check_ephemeral,
    "image": _check_image,
    **storage_source.POD_SOURCES,
}
