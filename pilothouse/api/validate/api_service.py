"""APIServices. Source: kube-aggregator `pkg/apis/apiregistration/validation`."""

from __future__ import annotations

from pilothouse.api.names import dns_1035_label, dns_subdomain
from pilothouse.api.path import FieldError, Path, invalid, not_supported, required
from pilothouse.api.validate.values import Errors, Part

_SPEC = Path("spec")
_STATES = ("True", "False", "Unknown")


def validate_api_service(service: Part) -> list[FieldError]:
    errors: Errors = []
    spec = service.get("spec") or {}
    group, version = spec.get("group", ""), spec.get("version", "")
    for field in ("generateName", "name"):
        name = service["metadata"].get(field, "")
        if name and name != f"{version}.{group}":
            text = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
            errors.append(invalid(Path(f"metadata.{field}"), name, text))
    if not group and version != "v1":
        errors.append(required(_SPEC.child("group"), "only v1 may have an empty group and it better be legacy kube"))
    if group:
        errors += (invalid(_SPEC.child("group"), group, text) for text in dns_subdomain(group))
    errors += (invalid(_SPEC.child("version"), version, text) for text in dns_1035_label(version))
    for field, limit in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field, 0)
        if not 0 < value <= limit:
            errors.append(invalid(_SPEC.child(field), value, f"must be positive and less than {limit}"))
    if spec.get("service") is None:
        _check_local(spec, errors)
    else:
        _check_remote(spec, errors)
    return errors


def _check_local(spec: Part, errors: Errors) -> None:
    if bundle := spec.get("caBundle"):
        from base64 import b64decode

        size = f"{len(b64decode(bundle))} bytes"
        errors.append(invalid(_SPEC.child("caBundle"), size, "local APIServices may not have a caBundle"))
    if spec.get("insecureSkipTLSVerify"):
        text = "local APIServices may not have insecureSkipTLSVerify"
        errors.append(invalid(_SPEC.child("insecureSkipTLSVerify"), True, text))


def _check_remote(spec: Part, errors: Errors) -> None:
    here = _SPEC.child("service")
    for field in ("namespace", "name"):
        if not spec["service"].get(field):
            errors.append(required(here.child(field)))
    port = spec["service"].get("port", 443)
    if not 1 <= port <= 65535:
        errors.append(invalid(here.child("port"), port, "port is not valid: must be between 1 and 65535, inclusive"))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        errors.append(invalid(_SPEC.child("insecureSkipTLSVerify"), True, "may not be true if caBundle is present"))


def validate_api_service_status_update(new: Part, old: Part) -> list[FieldError]:
    """The subresource `status`."""
    here = Path("status.conditions")
    return [
        not_supported(here.index(i).child("status"), condition.get("status", ""), _STATES)
        for i, condition in enumerate((new.get("status") or {}).get("conditions") or ())
        if condition.get("status") not in _STATES
    ]
