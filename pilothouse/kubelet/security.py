"""The security context of sandboxes and containers, from what pods say. Pure.

A container's own fields go before its pod's. Source: "Configure a Security Context for a Pod or Container", the Pod Security
Standards, and the API's field documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.runtime.records import Image
from pilothouse.kubelet.runtime.specs import NamespaceMode, Namespaces, Seccomp, SeccompKind, Security
from pilothouse.kubelet.seams import ConfigError

Context = Mapping[str, Any]

_MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_SHARED = ("runAsUser", "runAsGroup", "runAsNonRoot", "seLinuxOptions", "seccompProfile", "appArmorProfile")


def effective(pod: PodView, container: Mapping[str, Any]) -> Context:
    """A container's security context with the fields that it takes over from its pod."""
    of_pod = pod.spec.get("securityContext") or {}
    inherited = {field: of_pod[field] for field in _SHARED if of_pod.get(field) is not None}
    own = {field: value for field, value in (container.get("securityContext") or {}).items() if value is not None}
    return {**inherited, **own}


def namespaces(pod: PodView, target_id: str = "") -> Namespaces:
    """`target_id` is the container whose processes an ephemeral container shares."""
    spec = pod.spec
    pid = NamespaceMode.CONTAINER
    if spec.get("hostPID"):
        pid = NamespaceMode.NODE
    elif spec.get("shareProcessNamespace"):
        pid = NamespaceMode.POD
    if target_id and pid is NamespaceMode.CONTAINER:
        pid = NamespaceMode.TARGET
    return Namespaces(
        NamespaceMode.NODE if pod.host_network else NamespaceMode.POD,
        pid,
        NamespaceMode.NODE if spec.get("hostIPC") else NamespaceMode.POD,
        target_id if pid is NamespaceMode.TARGET else "",
    )


def sandbox_security(pod: PodView) -> Security:
    context = pod.spec.get("securityContext") or {}
    containers = (*pod.containers, *pod.init_containers)
    return Security(
        namespaces=namespaces(pod),
        run_as_user=context.get("runAsUser"),
        run_as_group=context.get("runAsGroup"),
        supplemental_groups=_groups(context),
        strict_groups=context.get("supplementalGroupsPolicy") == "Strict",
        privileged=any((container.get("securityContext") or {}).get("privileged") for container in containers),
        # The sandbox's own process needs nothing that the runtime's profile forbids.
        seccomp=Seccomp(SeccompKind.RUNTIME_DEFAULT),
        selinux=_selinux(context),
    )


def container_security(
    pod: PodView,
    container: Mapping[str, Any],
    image: Image | None,
    *,
    seccomp_dir: Path,
    default_seccomp: bool,
    target_id: str = "",
) -> Security:
    """Raises ConfigError if the container would run as root though its pod forbids it."""
    context = effective(pod, container)
    _verify_non_root(pod, container, context, image)
    user, username = context.get("runAsUser"), ""
    if user is None and image is not None:
        # An image that names no user runs as root.
        user, username = (image.uid if image.username else image.uid or 0), image.username
    capabilities = context.get("capabilities") or {}
    unmasked = context.get("procMount") == "Unmasked"
    of_pod = pod.spec.get("securityContext") or {}
    return Security(
        namespaces=namespaces(pod, target_id),
        run_as_user=user,
        run_as_group=context.get("runAsGroup"),
        run_as_username=username if user is None else "",
        supplemental_groups=_groups(of_pod),
        strict_groups=of_pod.get("supplementalGroupsPolicy") == "Strict",
        privileged=bool(context.get("privileged")),
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        seccomp=_seccomp(context.get("seccompProfile"), seccomp_dir, default_seccomp),
        apparmor=_apparmor(context.get("appArmorProfile")),
        selinux=_selinux(context),
        masked_paths=() if unmasked else _MASKED_PATHS,
        readonly_paths=() if unmasked else _READONLY_PATHS,
    )


def _groups(of_pod: Context) -> tuple[int, ...]:
    fs_group = of_pod.get("fsGroup")
    groups: Sequence[int] = of_pod.get("supplementalGroups") or ()
    return (*(() if fs_group is None else (fs_group,)), *groups)


def _verify_non_root(pod: PodView, container: Mapping[str, Any], context: Context, image: Image | None) -> None:
    if not context.get("runAsNonRoot"):
        return
    where = f'(pod: "{pod.name}_{pod.namespace}({pod.uid})", container: {container["name"]})'
    user = context.get("runAsUser")
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image is None:
        return
    if image.uid is None and image.username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), cannot verify user is non-root "
            f"{where}"
        )
    if image.uid == 0 or (image.uid is None and not image.username):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def _seccomp(profile: Context | None, seccomp_dir: Path, default_seccomp: bool) -> Seccomp:
    kind = (profile or {}).get("type")
    if kind == "Localhost":
        path = (profile or {}).get("localhostProfile")
        if not path:
            raise ConfigError("localhostProfile must be set if seccompProfile type is Localhost.")
        return Seccomp(SeccompKind.LOCALHOST, str(seccomp_dir / path))
    if kind == "RuntimeDefault" or (profile is None and default_seccomp):
        return Seccomp(SeccompKind.RUNTIME_DEFAULT)
    return Seccomp()


def _apparmor(profile: Context | None) -> Seccomp | None:
    kind = (profile or {}).get("type")
    if kind == "RuntimeDefault":
        return Seccomp(SeccompKind.RUNTIME_DEFAULT)
    if kind == "Unconfined":
        return Seccomp(SeccompKind.UNCONFINED)
    if kind == "Localhost":
        return Seccomp(SeccompKind.LOCALHOST, str((profile or {}).get("localhostProfile", "")))
    return None


def _selinux(context: Context) -> tuple[str, str, str, str] | None:
    options = context.get("seLinuxOptions")
    if not options:
        return None
    return options.get("user", ""), options.get("role", ""), options.get("type", ""), options.get("level", "")
