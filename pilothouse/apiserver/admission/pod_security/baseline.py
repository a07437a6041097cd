"""The checks of the baseline level: each a function from a pod's spec and annotations to what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.apiserver.admission.pod_security.violation import (
    Spec,
    Violation,
    adding_capabilities,
    containers_of,
    context_of,
    counted,
    quoted,
    setters_of,
)


def app_armor(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    allowed = ("RuntimeDefault", "Localhost")

    def bad(subject: Mapping[str, Any]) -> str | None:
        profile = context_of(subject).get("appArmorProfile")
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
    setters = [text for text in (setters_of(pod_value is not None, names),) if text]
    if refused:
        setters.append("annotation" if len(refused) == 1 else "annotations")
        values += refused
    if not setters:
        return None
    reason = "forbidden AppArmor profile" if len(values) == 1 else "forbidden AppArmor profiles"
    return Violation(reason, f"{' and '.join(setters)} must not set AppArmor profile type to {quoted(values)}")


_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)


def capabilities_baseline(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, added = adding_capabilities(spec, _CAPABILITIES)
    if not names:
        return None
    detail = f"{counted('container', names)} must not include {quoted(added)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def host_namespaces(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Violation("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", counted("volume", names)) if names else None


def host_ports(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, ports = [], set()
    for container in containers_of(spec):
        if used := {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}:
            names.append(container["name"])
            ports |= used
    if not names:
        return None
    noun = "hostPort" if len(ports) == 1 else "hostPorts"
    return Violation("hostPort", f"{counted('container', names, 'use')} {noun} {', '.join(sorted(ports))}")


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
        "probe or lifecycle host", f"{counted('container', sorted(names), 'use')} {noun} {quoted(sorted(hosts))}"
    )


def privileged(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names = [container["name"] for container in containers_of(spec) if context_of(container).get("privileged")]
    if not names:
        return None
    return Violation("privileged", f"{counted('container', names)} must not set securityContext.privileged=true")


def proc_mount(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    found = [
        (container["name"], context_of(container).get("procMount") or "Default") for container in containers_of(spec)
    ]
    names = [name for name, value in found if value != "Default"]
    if not names:
        return None
    values = sorted({value for _, value in found if value != "Default"})
    return Violation(
        "procMount", f"{counted('container', names)} must not set securityContext.procMount to {quoted(values)}"
    )


SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))


def se_linux(types: frozenset[str], spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    bad_types: set[str] = set()
    faults: dict[str, str] = {}

    def is_bad(subject: Mapping[str, Any]) -> bool:
        options = context_of(subject).get("seLinuxOptions") or {}
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
    data = [counted("type", sorted(bad_types))] if bad_types else []
    data += [faults[field] for field in ("user", "role") if field in faults]
    detail = f"{setters_of(pod_is_bad, names)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
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
        profile = context_of(subject).get("seccompProfile")
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
        setters = setters_of(pod is False, names)
        return Violation(
            "seccompProfile",
            f"{setters} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}",
        )
    missing = [name for name, is_allowed in states if is_allowed is None and not pod]
    if not is_required or not missing:
        return None
    return Violation(
        "seccompProfile",
        f'pod or {counted("container", missing)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
    )


SYSCTLS_0 = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
SYSCTLS_27 = SYSCTLS_0 | {"net.ipv4.ip_local_reserved_ports"}
SYSCTLS_29 = SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SYSCTLS_32 = SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def sysctls(allowed: frozenset[str], spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    refused = [each["name"] for each in context_of(spec).get("sysctls") or () if each["name"] not in allowed]
    return Violation("forbidden sysctls", ", ".join(refused)) if refused else None


def windows_host_process(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    def is_bad(subject: Mapping[str, Any]) -> bool:
        return bool((context_of(subject).get("windowsOptions") or {}).get("hostProcess"))

    names = [container["name"] for container in containers_of(spec) if is_bad(container)]
    if not names and not is_bad(spec):
        return None
    setters = setters_of(is_bad(spec), names)
    return Violation("hostProcess", f"{setters} must not set securityContext.windowsOptions.hostProcess=true")
