"""What is projected into files and environment variables: keys of ConfigMaps and Secrets, fields of the pod, tokens.

Source: `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import orjson

from pilothouse.api import names, quantity
from pilothouse.api.path import Path, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.signer import check_signer_name, is_kubernetes_signer
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_file_mode,
    check_name,
    check_present,
    check_unreserved_path,
)
from pilothouse.kit.remembered import remembered

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN_FIELDS = {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_BYTE_DIVISORS = (
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
)  # fmt: skip
_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_SAME_PATH = "conflicting duplicate paths"
_subscripted = re.compile(r"(.+?)\['(.*)'\]", re.DOTALL).fullmatch


def check_key_to_path(item: Part, path: Path, errors: Errors) -> None:
    check_present(item, "key", path, errors)
    check_present(item, "path", path, errors)
    check_unreserved_path(item.get("path", ""), path.child("path"), errors)
    check_file_mode(item, "mode", path, errors)


def check_field_ref(ref: Part, allowed: Collection[str], path: Path, errors: Errors) -> None:
    """A reference to a field of the pod, possibly to one label or annotation."""
    if not check_present(ref, "apiVersion", path, errors) or not check_present(ref, "fieldPath", path, errors):
        return
    version, field = ref["apiVersion"], ref["fieldPath"]
    subscript = _subscripted(field)
    if version != "v1":
        problem = f"unsupported pod version: {version}"
    elif subscript and subscript[1] not in ("metadata.annotations", "metadata.labels"):
        problem = f"field label does not support subscript: {field}"
    elif not subscript and field not in _KNOWN_FIELDS and field != "spec.host":
        problem = f"field label not supported: {field}"
    elif subscript:
        key = subscript[2].lower() if subscript[1] == "metadata.annotations" else subscript[2]
        check_name(names.label_key, key, path, errors)
        return
    else:
        found = "spec.nodeName" if field == "spec.host" else field
        if found not in allowed:
            errors.append(not_supported(path.child("fieldPath"), found, sorted(allowed)))
        return
    errors.append(invalid(path.child("fieldPath"), field, f"error converting fieldPath: {problem}"))


def check_resource_ref(ref: Part, path: Path, errors: Errors, *, in_volume: bool) -> None:
    """A reference to a request or limit of a container."""
    resource = ref.get("resource", "")
    if in_volume and not ref.get("containerName"):
        errors.append(required(path.child("containerName")))
    elif not resource:
        errors.append(required(path.child("resource")))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(not_supported(path.child("resource"), resource, _RESOURCES))
    divisor = quantity.canonical(ref.get("divisor", "0"))
    if divisor == "0":
        return
    kind = resource.partition(".")[2]
    if kind == "cpu" and divisor not in ("1m", "1"):
        text = "only divisor's values 1m and 1 are supported with the cpu resource"
        errors.append(invalid(path.child("divisor"), resource, text))
    elif (
        kind in ("memory", "ephemeral-storage") or resource.startswith(_HUGE_PAGES)
    ) and divisor not in _BYTE_DIVISORS:
        shown = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(kind, "hugepages")
        text = f"only divisor's values {', '.join(_BYTE_DIVISORS)} are supported with the {shown} resource"
        errors.append(invalid(path.child("divisor"), resource, text))


def check_downward_file(item: Part, path: Path, errors: Errors) -> None:
    check_present(item, "path", path, errors)
    check_unreserved_path(item.get("path", ""), path.child("path"), errors)
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        check_field_ref(field, VOLUME_FIELDS, path.child("fieldRef"), errors)
        if resource is not None:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid(path, "resource", text))
    elif resource is not None:
        check_resource_ref(resource, path.child("resourceFieldRef"), errors, in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    check_file_mode(item, "mode", path, errors)


def check_projected(source: Part, path: Path, errors: Errors) -> None:
    if not _is_faultless(orjson.dumps(source).decode()):
        _check_projected(source, path, errors)


@remembered(64)
def _is_faultless(source: str) -> bool:
    """Whether there is nothing to say of a projection, in JSON: nearly every pod has the same, that of its service account's token."""
    errors: Errors = []
    _check_projected(orjson.loads(source), Path(), errors)
    return not errors


def _check_projected(source: Part, path: Path, errors: Errors) -> None:
    check_file_mode(source, "defaultMode", path, errors)
    taken: set[str] = set()
    for i, projected in enumerate(source.get("sources") or ()):
        here = path.child("sources").index(i)
        for field in ("secret", "configMap"):
            if (part := projected.get(field)) is not None:
                _check_keys(part, here.child(field), path, taken, errors)
        if (part := projected.get("downwardAPI")) is not None:
            for item in part.get("items") or ():
                check_downward_file(item, here.child("downwardAPI"), errors)
                _take(item.get("path", ""), item.get("path", ""), taken, path, errors)
        if (part := projected.get("serviceAccountToken")) is not None:
            _check_token(part, here.child("serviceAccountToken"), path, errors)
        if (part := projected.get("clusterTrustBundle")) is not None:
            _check_trust_bundle(part, here.child("clusterTrustBundle"), path, taken, errors)
        if (part := projected.get("podCertificate")) is not None:
            _check_pod_certificate(part, here.child("podCertificate"), path, taken, errors)
        if len(projected) > 1:
            errors.append(field_forbidden(here, "may not specify more than 1 volume type per source"))


def _take(file: str, shown: str, taken: set[str], path: Path, errors: Errors) -> None:
    if not file:
        return
    if file in taken:
        errors.append(invalid(path, shown, _SAME_PATH))
    taken.add(file)


def _check_keys(part: Part, path: Path, volume: Path, taken: set[str], errors: Errors) -> None:
    check_present(part, "name", path, errors)
    for i, item in enumerate(part.get("items") or ()):
        check_key_to_path(item, path.child("items").index(i), errors)
        _take(item.get("path", ""), part.get("name", ""), taken, volume, errors)


def _check_token(part: Part, path: Path, volume: Path, errors: Errors) -> None:
    expiration = part.get("expirationSeconds", 0)
    if expiration < 600:
        text = "may not specify a duration less than 10 minutes"
        errors.append(invalid(path.child("expirationSeconds"), expiration, text))
    if expiration > 2**32:
        text = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid(path.child("expirationSeconds"), expiration, text))
    if check_present(part, "path", volume, errors):
        check_unreserved_path(part["path"], volume.child("path"), errors)


def _check_trust_bundle(part: Part, path: Path, volume: Path, taken: set[str], errors: Errors) -> None:
    name, signer = part.get("name"), part.get("signerName")
    if name is not None and signer is not None:
        errors.append(invalid(path, part, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            errors.append(required(path.child("name"), "must be a valid object name"))
        signer_part, separator, rest = name.rpartition(":")
        checked = rest if separator and signer_part else name
        for text in names.dns_subdomain(checked):
            errors.append(invalid(path.child("name"), name, f"not a valid clustertrustbundlename: {text}"))
        if "labelSelector" in part:
            text = "labelSelector must be unset if name is specified"
            errors.append(invalid(path.child("labelSelector"), part["labelSelector"], text))
    elif signer is not None:
        if not signer:
            errors.append(required(path.child("signerName"), "must be a valid signer name"))
        check_signer_name(signer, path.child("signerName"), errors)
        check_label_selector(part.get("labelSelector"), path.child("labelSelector"), errors)
    else:
        errors.append(required(path, "either name or signerName must be specified"))
    check_present(part, "path", path, errors)
    check_unreserved_path(part.get("path", ""), path.child("path"), errors)
    _take(part.get("path", ""), part.get("path", ""), taken, volume, errors)


def _check_pod_certificate(part: Part, path: Path, volume: Path, taken: set[str], errors: Errors) -> None:
    signer = part.get("signerName", "")
    check_signer_name(signer, path.child("signerName"), errors)
    if part.get("keyType", "") not in _KEY_TYPES:
        errors.append(not_supported(path.child("keyType"), part.get("keyType", ""), _KEY_TYPES))
    expiration = part.get("maxExpirationSeconds")
    if expiration is not None:
        here = path.child("maxExpirationSeconds")
        if expiration < 3600:
            errors.append(invalid(here, expiration, "if provided, maxExpirationSeconds must be >= 3600"))
        longest = 86400 if is_kubernetes_signer(signer) else 91 * 86400
        if expiration > longest:
            errors.append(invalid(here, expiration, f"if provided, maxExpirationSeconds must be <= {longest}"))
    files = [field for field in ("credentialBundlePath", "keyPath", "certificateChainPath") if part.get(field)]
    for field in files:
        check_unreserved_path(part[field], path.child(field), errors)
        _take(part[field], part[field], taken, volume, errors)
    if not files:
        text = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        errors.append(required(path, text))
