"""The checks of the Pod Security Standards: each a function from a pod to what is wrong with it.

A check has a form for each minor version from which on it reads otherwise; a check of the restricted level may stand in for one of the
baseline. Source: `pod-security-admission/policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from pilothouse.apiserver.admission.pod_security.policy import LATEST, Level, Standard

Spec = Mapping[str, Any]
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Violation:
    """`reason` is short; `detail` names containers and values."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Form = Callable[[Spec, Mapping[str, str]], Violation | None]
"""Takes a pod's spec and annotations."""


def evaluate(standard: Standard, spec: Spec, annotations: Mapping[str, str]) -> list[Violation]:
    """All that a pod violates, baseline first."""
    found = (check(spec, annotations) for check in checks_of(standard))
    return [violation for violation in found if violation is not None]


def containers_of(spec: Spec) -> Iterator[Mapping[str, Any]]:
    for key in CONTAINER_LISTS:
        yield from spec.get(key) or ()


def _context(subject: Mapping[str, Any]) -> Mapping[str, Any]:
    return subject.get("securityContext") or {}


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _counted(noun: str, items: Sequence[str], verb: str = "") -> str:
    """`container "a" uses`, `containers "a", "b" use`."""
    one = len(items) == 1
    text = f"{noun if one else noun + 's'} {_quoted(items)}"
    return f"{text} {verb}{'s' if one else ''}" if verb else text


def _setters(pod_is_bad: bool, containers: Sequence[str]) -> str:
    parts = ["pod"] if pod_is_bad else []
    if containers:
        parts.append(_counted("container", containers))
    return " and ".join(parts)


def _is_windows(spec: Spec) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def _unless_windows(form: Form, spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    return None if _is_windows(spec) else form(spec, annotations)


def _unless_user_namespace(form: Form, spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    return None if spec.get("hostUsers") is False else form(spec, annotations)


# Baseline


def app_armor(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    allowed = ("RuntimeDefault", "Localhost")

    def bad(subject: Mapping[str, Any]) -> str | None:
        profile = _context(subject).get("appArmorProfile")
        type_ = str((profile or {}).get("type", ""))
        return type_ if profile is not None and type_ not in allowed else None

    pod_value = bad(spec)
    containers = [(container["name"], bad(container)) for container in containers_of(spec)]
    names = [name for name, value in containers if value is not None]
    values = sorted({value for value in (pod_value, *(value for _, value in containers)) if value is not None})
    refused = sorted(
        f'{key}="{value}"'
        for key, value in annotations.items()
        if key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    setters = [text for text in (_setters(pod_value is not None, names),) if text]
    if refused:
        setters.append("annotation" if len(refused) == 1 else "annotations")
        values += refused
    if not setters:
        return None
    reason = "forbidden AppArmor profile" if len(values) == 1 else "forbidden AppArmor profiles"
    return Violation(reason, f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}")


_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)


def capabilities_baseline(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, added = _adding(spec, _CAPABILITIES)
    if not names:
        return None
    detail = f"{_counted('container', names)} must not include {_quoted(added)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def _adding(spec: Spec, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    """The containers that add capabilities beyond `allowed`, and which ones."""
    names, added = [], set()
    for container in containers_of(spec):
        capabilities = (_context(container).get("capabilities") or {}).get("add") or ()
        if more := set(capabilities) - allowed:
            names.append(container["name"])
            added |= more
    return names, sorted(added)


def host_namespaces(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Violation("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", _counted("volume", names)) if names else None


def host_ports(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, ports = [], set()
    for container in containers_of(spec):
        if used := {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}:
            names.append(container["name"])
            ports |= used
    if not names:
        return None
    noun = "hostPort" if len(ports) == 1 else "hostPorts"
    return Violation("hostPort", f"{_counted('container', names, 'use')} {noun} {', '.join(sorted(ports))}")


def host_probes(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, hosts = set(), set()
    for container in containers_of(spec):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
        for handler in (*handlers, lifecycle.get("postStart"), lifecycle.get("preStop")):
            for action in ("httpGet", "tcpSocket"):
                if host := ((handler or {}).get(action) or {}).get("host"):
                    names.add(container["name"])
                    hosts.add(host)
    if not names:
        return None
    noun = "probe or lifecycle host" if len(hosts) == 1 else "probe or lifecycle hosts"
    return Violation(
        "probe or lifecycle host", f"{_counted('container', sorted(names), 'use')} {noun} {_quoted(sorted(hosts))}"
    )


def privileged(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names = [container["name"] for container in containers_of(spec) if _context(container).get("privileged")]
    if not names:
        return None
    return Violation("privileged", f"{_counted('container', names)} must not set securityContext.privileged=true")


def proc_mount(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    found = [
        (container["name"], _context(container).get("procMount") or "Default") for container in containers_of(spec)
    ]
    names = [name for name, value in found if value != "Default"]
    if not names:
        return None
    values = sorted({value for _, value in found if value != "Default"})
    return Violation(
        "procMount", f"{_counted('container', names)} must not set securityContext.procMount to {_quoted(values)}"
    )


_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))


def se_linux(types: frozenset[str], spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    bad_types: set[str] = set()
    faults: dict[str, str] = {}

    def is_bad(subject: Mapping[str, Any]) -> bool:
        options = _context(subject).get("seLinuxOptions") or {}
        bad = False
        if (type_ := options.get("type") or "") not in types:
            bad_types.add(type_)
            bad = True
        for field in ("user", "role"):
            if options.get(field):
                faults[field] = f"{field} may not be set"
                bad = True
        return bad

    pod_is_bad = is_bad(spec)
    names = [container["name"] for container in containers_of(spec) if is_bad(container)]
    if not pod_is_bad and not names:
        return None
    data = [_counted("type", sorted(bad_types))] if bad_types else []
    data += [faults[field] for field in ("user", "role") if field in faults]
    detail = f"{_setters(pod_is_bad, names)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    return Violation("seLinuxOptions", detail)


def seccomp_annotations(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    keys = ["seccomp.security.alpha.kubernetes.io/pod"]
    keys += [f"container.seccomp.security.alpha.kubernetes.io/{each['name']}" for each in containers_of(spec)]
    refused = sorted(
        {
            f'{key}="{annotations[key]}"'
            for key in keys
            if key in annotations
            and annotations[key] not in ("runtime/default", "docker/default")
            and not annotations[key].startswith("localhost/")
        }
    )
    if not refused:
        return None
    noun = "annotation" if len(refused) == 1 else "annotations"
    return Violation("seccompProfile", f"forbidden {noun} {', '.join(refused)}")


def seccomp(spec: Spec, annotations: Mapping[str, str], *, is_required: bool = False) -> Violation | None:
    allowed = ("RuntimeDefault", "Localhost")
    values: set[str] = set()

    def state(subject: Mapping[str, Any]) -> bool | None:
        """Whether the profile is allowed; None where there is none."""
        profile = _context(subject).get("seccompProfile")
        if profile is None:
            return None
        type_ = str(profile.get("type", ""))
        if type_ not in allowed:
            values.add(type_)
        return type_ in allowed

    pod = state(spec)
    states = [(container["name"], state(container)) for container in containers_of(spec)]
    names = [name for name, is_allowed in states if is_allowed is False]
    if pod is False or names:
        setters = _setters(pod is False, names)
        return Violation(
            "seccompProfile",
            f"{setters} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}",
        )
    missing = [name for name, is_allowed in states if is_allowed is None and not pod]
    if not is_required or not missing:
        return None
    return Violation(
        "seccompProfile",
        f'pod or {_counted("container", missing)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
    )


_SYSCTLS_0 = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
_SYSCTLS_27 = _SYSCTLS_0 | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def sysctls(allowed: frozenset[str], spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    refused = [each["name"] for each in _context(spec).get("sysctls") or () if each["name"] not in allowed]
    return Violation("forbidden sysctls", ", ".join(refused)) if refused else None


def windows_host_process(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    def is_bad(subject: Mapping[str, Any]) -> bool:
        return bool((_context(subject).get("windowsOptions") or {}).get("hostProcess"))

    names = [container["name"] for container in containers_of(spec) if is_bad(container)]
    if not names and not is_bad(spec):
        return None
    setters = _setters(is_bad(spec), names)
    return Violation("hostProcess", f"{setters} must not set securityContext.windowsOptions.hostProcess=true")


# Restricted


def privilege_escalation(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names = [
        container["name"]
        for container in containers_of(spec)
        if _context(container).get("allowPrivilegeEscalation") is not False
    ]
    if not names:
        return None
    detail = f"{_counted('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def capabilities_restricted(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    keeping = [
        container["name"]
        for container in containers_of(spec)
        if "ALL" not in ((_context(container).get("capabilities") or {}).get("drop") or ())
    ]
    adding, added = _adding(spec, frozenset(("NET_BIND_SERVICE",)))
    details = []
    if keeping:
        details.append(f'{_counted("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = _counted("container", adding)
        details.append(f"{names} must not include {_quoted(added)} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


_FREE_VOLUMES = frozenset(
    (
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
        *("persistentVolumeClaim", "projected", "secret"),
    )
)
_OTHER_VOLUMES = (
    *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd"),
    *("flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk"),
    *("photonPersistentDisk", "portworxVolume", "scaleIO", "storageos"),
)


def restricted_volumes(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, types = [], set()
    for volume in spec.get("volumes") or ():
        if not _FREE_VOLUMES & {key for key, value in volume.items() if value is not None}:
            names.append(volume["name"])
            types.add(next((type_ for type_ in _OTHER_VOLUMES if volume.get(type_) is not None), "unknown"))
    if not names:
        return None
    noun = "restricted volume type" if len(types) == 1 else "restricted volume types"
    return Violation("restricted volume types", f"{_counted('volume', names, 'use')} {noun} {_quoted(sorted(types))}")


def run_as_non_root(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    pod = _context(spec).get("runAsNonRoot")
    states = [(container["name"], _context(container).get("runAsNonRoot")) for container in containers_of(spec)]
    names = [name for name, value in states if value is False]
    if pod is False or names:
        setters = _setters(pod is False, names)
        return Violation("runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false")
    missing = [name for name, value in states if value is None and not pod]
    if not missing:
        return None
    detail = f"pod or {_counted('container', missing)} must set securityContext.runAsNonRoot=true"
    return Violation("runAsNonRoot != true", detail)


def run_as_user(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    pod_is_root = _context(spec).get("runAsUser") == 0
    names = [container["name"] for container in containers_of(spec) if _context(container).get("runAsUser") == 0]
    if not pod_is_root and not names:
        return None
    return Violation("runAsUser=0", f"{_setters(pod_is_root, names)} must not set runAsUser=0")


# Which check holds when


@dataclass(frozen=True, slots=True)
class Check:
    """A check with its forms, each from a minor version on; `replaces` is the baseline check that it makes needless."""

    id: str
    level: Level
    forms: tuple[tuple[int, Form], ...]
    replaces: str = ""

    def at(self, minor: int) -> Form | None:
        return next((form for since, form in reversed(self.forms) if since <= minor), None)


CHECKS: tuple[Check, ...] = (
    Check("appArmorProfile", Level.BASELINE, ((0, app_armor),)),
    Check("capabilities_baseline", Level.BASELINE, ((0, capabilities_baseline),)),
    Check("hostNamespaces", Level.BASELINE, ((0, host_namespaces),)),
    Check("hostPathVolumes", Level.BASELINE, ((0, host_path_volumes),)),
    Check("hostPorts", Level.BASELINE, ((0, host_ports),)),
    Check("hostProbesAndHostLifecycle", Level.BASELINE, ((34, host_probes),)),
    Check("privileged", Level.BASELINE, ((0, privileged),)),
    Check("procMount", Level.BASELINE, ((0, proc_mount), (35, partial(_unless_user_namespace, proc_mount)))),
    Check(
        "seLinuxOptions",
        Level.BASELINE,
        ((0, partial(se_linux, _SELINUX_TYPES)), (31, partial(se_linux, _SELINUX_TYPES | {"container_engine_t"}))),
    ),
    Check("seccompProfile_baseline", Level.BASELINE, ((0, seccomp_annotations), (19, seccomp))),
    Check(
        "sysctls",
        Level.BASELINE,
        tuple(
            (minor, partial(sysctls, allowed))
            for minor, allowed in ((0, _SYSCTLS_0), (27, _SYSCTLS_27), (29, _SYSCTLS_29), (32, _SYSCTLS_32))
        ),
    ),
    Check("windowsHostProcess", Level.BASELINE, ((0, windows_host_process),)),
    Check(
        "allowPrivilegeEscalation",
        Level.RESTRICTED,
        ((8, privilege_escalation), (25, partial(_unless_windows, privilege_escalation))),
    ),
    Check(
        "capabilities_restricted",
        Level.RESTRICTED,
        ((22, capabilities_restricted), (25, partial(_unless_windows, capabilities_restricted))),
        "capabilities_baseline",
    ),
    Check("procMount_restricted", Level.RESTRICTED, ((35, proc_mount),), "procMount"),
    Check("restrictedVolumes", Level.RESTRICTED, ((0, restricted_volumes),), "hostPathVolumes"),
    Check(
        "runAsNonRoot",
        Level.RESTRICTED,
        ((0, run_as_non_root), (35, partial(_unless_user_namespace, run_as_non_root))),
    ),
    Check("runAsUser", Level.RESTRICTED, ((23, run_as_user), (35, partial(_unless_user_namespace, run_as_user)))),
    Check(
        "seccompProfile_restricted",
        Level.RESTRICTED,
        (
            (19, partial(seccomp, is_required=True)),
            (25, partial(_unless_windows, partial(seccomp, is_required=True))),
        ),
        "seccompProfile_baseline",
    ),
)
"""All checks, in the order in which what they find is told."""

NEWEST_MINOR = max(since for check in CHECKS for since, _ in check.forms)


@lru_cache(64)
def checks_of(standard: Standard) -> tuple[Form, ...]:
    """The checks of a level in a version; versions that are yet to come are as the newest."""
    if standard.level is Level.PRIVILEGED:
        return ()
    minor = NEWEST_MINOR if standard.minor == LATEST else min(standard.minor, NEWEST_MINOR)
    wanted = [(check, form) for check in CHECKS if check.level <= standard.level and (form := check.at(minor))]
    replaced = {check.replaces for check, _ in wanted}
    return tuple(form for check, form in wanted if check.id not in replaced)
