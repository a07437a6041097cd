"""Sources of storage outside the cluster, as pods and PersistentVolumes name them.

Most of them only have fields that must be there: those are a table. Source: `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pilothouse.api import names
from pilothouse.api.path import Path, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.values import Errors, Part, check_name, check_no_steps_back, check_present

Check = Callable[[Part, Path, Errors], None]

ISCSI_NAME_TOO_LONG = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."
_ISCSI_STARTS = "must be valid format starting with iqn, eui, or naa"
_is_iqn = re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)$").search
_is_eui = re.compile(r"eui.[A-Za-z0-9]{16}").fullmatch
_is_naa = re.compile(r"naa.[A-Za-z0-9]{32}").fullmatch
_LUN = names.between(0, 255)
_PARTITION = names.between(1, 255)
_REGISTRY = "must be a host:port pair or multiple pairs separated by commas"


def needs(*fields: str) -> Check:
    """The check of a source whose `fields` must be there."""

    def check(source: Part, path: Path, errors: Errors) -> None:
        for field in fields:
            check_present(source, field, path, errors)

    return check


def check_csi_driver_name(name: str, path: Path, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
        return
    if len(name) > 63:
        errors.append(too_long(path, 63))
    for text in names.dns_subdomain(name.lower()):
        errors.append(invalid(path, name, text))


def check_nfs(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "server", path, errors)
    check_present(source, "path", path, errors)
    if not source.get("path", "").startswith("/"):
        errors.append(invalid(path.child("path"), source.get("path", ""), "must be an absolute path"))


def check_iscsi(source: Part, path: Path, errors: Errors, *, wrong_start: str = _ISCSI_STARTS) -> None:
    """`wrong_start` is what is said of a name that starts as none may."""
    check_present(source, "targetPortal", path, errors)
    if check_present(source, "iqn", path, errors):
        _check_iscsi_name(source["iqn"], path.child("iqn"), errors, wrong_start)
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        errors.append(invalid(path.child("lun"), lun, _LUN))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and "secretRef" not in source:
        errors.append(required(path.child("secretRef")))
    if "initiatorName" in source:
        _check_iscsi_name(source["initiatorName"], path.child("initiatorname"), errors, wrong_start)


def _check_iscsi_name(name: str, path: Path, errors: Errors, wrong_start: str = _ISCSI_STARTS) -> None:
    if not name.startswith(("iqn", "eui", "naa")):
        errors.append(invalid(path, name, wrong_start))
    elif not (_is_iqn(name) or _is_eui(name) or _is_naa(name)):
        errors.append(invalid(path, name, "must be valid format"))


def check_fibre_channel(source: Part, path: Path, errors: Errors) -> None:
    names_, ids = source.get("targetWWNs") or [], source.get("wwids") or []
    if not names_ and not ids:
        errors.append(required(path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
    if names_ and ids:
        text = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(invalid(path.child("targetWWNs"), names_, text))
    if names_:
        lun = source.get("lun")
        if lun is None:
            errors.append(required(path.child("lun"), "lun is required if targetWWNs is specified"))
        elif not 0 <= lun <= 255:
            errors.append(invalid(path.child("lun"), lun, _LUN))


def _disk(field: str) -> Check:
    def check(source: Part, path: Path, errors: Errors) -> None:
        check_present(source, field, path, errors)
        partition = source.get("partition", 0)
        if not 0 <= partition <= 255:
            errors.append(invalid(path.child("partition"), partition, _PARTITION))

    return check


def check_quobyte(source: Part, path: Path, errors: Errors) -> None:
    registry = source.get("registry", "")
    if not registry:
        errors.append(required(path.child("registry"), _REGISTRY))
    elif len(source.get("tenant", "")) >= 65:
        text = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(required(path.child("tenant"), text))
    else:
        for pair in registry.split(","):
            if ":" not in pair or (pair.count(":") > 1 and not pair.startswith("[")):
                errors.append(invalid(path.child("registry"), registry, _REGISTRY))
    check_present(source, "volume", path, errors)


def check_flocker(source: Part, path: Path, errors: Errors) -> None:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    if not name and not uuid:
        errors.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        errors.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        errors.append(invalid(path.child("datasetName"), name, "must not contain '/'"))


def check_flex(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "driver", path, errors)
    for key in source.get("options") or ():
        domain = f".{key.partition('/')[0].lower()}"
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            text = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(invalid(path.child("options").key(key), key, text))


def check_azure_disk(source: Part, path: Path, errors: Errors) -> None:
    check_present(source, "diskName", path, errors)
    check_present(source, "diskURI", path, errors)
    for field, allowed in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        if field in source and source[field] not in allowed:
            errors.append(not_supported(path.child(field), source[field], allowed))
    kind, uri = source.get("kind"), source.get("diskURI", "")
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        shape = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        errors.append(not_supported(path.child("diskURI"), uri, (shape,)))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        shape = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        errors.append(not_supported(path.child("diskURI"), uri, (shape,)))


def _with_secret(*fields: str, needed: Sequence[str] = ("name",)) -> Check:
    """Required fields and a reference to a Secret that, if it is there, must be whole."""

    def check(source: Part, path: Path, errors: Errors) -> None:
        for field in fields:
            check_present(source, field, path, errors)
        _check_secret(source, path, errors, needed)

    return check


def _check_secret(source: Part, path: Path, errors: Errors, needed: Sequence[str]) -> None:
    secret = source.get("secretRef")
    if secret is not None:
        for field in needed:
            if not secret.get(field):
                errors.append(required(path.child("secretRef", field)))


def _storage_os(needed: Sequence[str]) -> Check:
    def check(source: Part, path: Path, errors: Errors) -> None:
        if check_present(source, "volumeName", path, errors):
            check_name(names.dns_label, source["volumeName"], path.child("volumeName"), errors)
        if namespace := source.get("volumeNamespace"):
            check_name(names.dns_label, namespace, path.child("volumeNamespace"), errors)
        _check_secret(source, path, errors, needed)

    return check


def _check_glusterfs_volume(source: Part, path: Path, errors: Errors) -> None:
    needs("endpoints", "path")(source, path, errors)
    namespace = source.get("endpointsNamespace")
    if namespace == "":
        text = "if the endpointnamespace is set, it must be a valid namespace name"
        errors.append(invalid(path.child("endpointsNamespace"), "", text))
    elif namespace is not None:
        check_name(names.dns_label, namespace, path.child("endpointsNamespace"), errors)


def _check_azure_file_volume(source: Part, path: Path, errors: Errors) -> None:
    needs("secretName", "shareName")(source, path, errors)
    if source.get("secretNamespace") == "":
        errors.append(required(path.child("secretNamespace")))


def _check_local(source: Part, path: Path, errors: Errors) -> None:
    if check_present(source, "path", path, errors):
        check_no_steps_back(source["path"], path.child("path"), errors)


def _check_iscsi_volume(source: Part, path: Path, errors: Errors) -> None:
    _check_secret(source, path, errors, ("name",))
    check_iscsi(source, path, errors, wrong_start="must be valid format")


def _check_csi_volume(source: Part, path: Path, errors: Errors) -> None:
    check_csi_driver_name(source.get("driver", ""), path.child("driver"), errors)
    check_present(source, "volumeHandle", path, errors)
    for field in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):
        if (secret := source.get(field)) is not None:
            _check_secret_reference(secret, path.child(field), errors)


def _check_secret_reference(secret: Part, path: Path, errors: Errors) -> None:
    for field, rule in (("name", names.dns_subdomain), ("namespace", names.dns_label)):
        if check_present(secret, field, path, errors):
            check_name(rule, secret[field], path.child(field), errors)


_SHARED: Mapping[str, Check] = {
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "nfs": check_nfs,
    "flocker": check_flocker,
    "rbd": needs("monitors", "image"),
    "cephfs": needs("monitors"),
    "quobyte": check_quobyte,
    "fc": check_fibre_channel,
    "flexVolume": check_flex,
    "vsphereVolume": needs("volumePath"),
    "photonPersistentDisk": needs("pdID"),
    "portworxVolume": needs("volumeID"),
    "azureDisk": check_azure_disk,
    "scaleIO": needs("gateway", "system", "volumeName"),
}

POD_SOURCES: Mapping[str, Check] = {
    **_SHARED,
    "iscsi": check_iscsi,
    "glusterfs": needs("endpoints", "path"),
    "cinder": _with_secret("volumeID"),
    "azureFile": needs("secretName", "shareName"),
    "storageos": _storage_os(("name",)),
}
"""The sources that a pod can name itself."""

VOLUME_SOURCES: Mapping[str, Check] = {
    **_SHARED,
    "iscsi": _check_iscsi_volume,
    "glusterfs": _check_glusterfs_volume,
    "cinder": _with_secret("volumeID", needed=("name", "namespace")),
    "azureFile": _check_azure_file_volume,
    "storageos": _storage_os(("name", "namespace")),
    "local": _check_local,
    "csi": _check_csi_volume,
}
"""The sources of a PersistentVolume, `hostPath` apart."""


_ORDER = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs", "iscsi",
    "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "scaleIO",
    "local", "storageos", "csi",
)  # fmt: skip
"""The first of several sources of a PersistentVolume is the one that counts."""


def check_one_source(part: Part, sources: Mapping[str, Check], path: Path, errors: Errors, more_than_one: str) -> str:
    """Checks the one source that must be there; returns its field, or an empty string."""
    found = [field for field in _ORDER if field in part]
    for i, field in enumerate(found):
        # Upstream takes a flex volume beside another source.
        if i and field != "flexVolume":
            errors.append(field_forbidden(path.child("cephFS" if field == "cephfs" else field), more_than_one))
        else:
            here = path.child("persistentDisk" if field == "gcePersistentDisk" else field)
            sources[field](part[field], here, errors)
            if field == "local" and "nodeAffinity" not in part:
                errors.append(required(path.child("nodeAffinity"), "Local volume requires node affinity"))
    return found[0] if found else ""
