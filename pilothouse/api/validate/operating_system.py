"""What depends on a pod's operating system. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api.path import Path, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.security import check_windows_absent
from pilothouse.api.validate.values import Errors, Part

CONTAINER_FIELDS = ("initContainers", "containers", "ephemeralContainers")
_NO_PART: Mapping[str, Any] = {}
_NO_WINDOWS_POD = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
_NO_WINDOWS_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser", "runAsGroup",
    "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
_NO_WINDOWS_CONTAINER = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def each_container(spec: Part, path: Path) -> Iterator[tuple[Path, Part]]:
    """Every container of a pod, whatever its kind, with its path."""
    for field in CONTAINER_FIELDS:
        for i, container in enumerate(spec.get(field) or ()):
            yield path.child(field).index(i), container


def check_os(os: Part, spec: Part, path: Path, errors: Errors) -> None:
    """A pod that says what it runs on has no options of the other."""
    name = os.get("name", "")
    if not name:
        errors.append(required(path.child("os", "name")))
    elif name not in ("linux", "windows"):
        errors.append(not_supported(path.child("os"), name, ("linux", "windows")))
    elif name == "linux":
        check_windows_absent(spec, path, errors)
        for here, container in each_container(spec, path):
            check_windows_absent(container, here, errors)
    else:
        text = "cannot be set for a windows pod"
        context = spec.get("securityContext") or _NO_PART
        for field in _NO_WINDOWS_POD:
            if spec.get(field) is not None:
                errors.append(field_forbidden(path.child(field), text))
        for field in _NO_WINDOWS_CONTEXT:
            if field in context:
                errors.append(field_forbidden(path.child("securityContext", field), text))
        for here, container in each_container(spec, path):
            for field in _NO_WINDOWS_CONTAINER:
                if field in (container.get("securityContext") or ()):
                    errors.append(field_forbidden(here.child("securityContext", field), text))


def _host_process(part: Part) -> bool | None:
    options = (part.get("securityContext") or _NO_PART).get("windowsOptions") or _NO_PART
    found: bool | None = options.get("hostProcess")
    return found


def uses_host_process(spec: Part) -> bool:
    """Whether anything is said about host processes, which only Windows has."""
    if _host_process(spec) is not None:
        return True
    return any(
        "securityContext" in container and _host_process(container) is not None
        for field in CONTAINER_FIELDS
        for container in spec.get(field) or ()
    )


def check_host_process(spec: Part, path: Path, errors: Errors) -> None:
    """All containers are host processes or none is, and then they share the network of the host."""
    of_pod, count, total = _host_process(spec), 0, 0
    for here, container in each_container(spec, path):
        own = _host_process(container)
        total += 1
        if of_pod is not None and own is not None and own != of_pod:
            text = f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
            errors.append(invalid(here.child("securityContext", "windowsOptions", "hostProcess"), own, text))
        count += bool(of_pod if own is None else own)
    if not count:
        return
    if count != total:
        text = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        errors.append(invalid(path, "", text))
    if not spec.get("hostNetwork"):
        text = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(invalid(path.child("hostNetwork"), False, text))
