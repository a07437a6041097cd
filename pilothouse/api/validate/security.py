"""Security contexts of pods and containers. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import re

from pilothouse.api import names
from pilothouse.api.path import Path, duplicate, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.shown import maybe, shown
from pilothouse.api.validate.values import Errors, Part, check_choice, check_descending_path, check_name

_PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SEGMENT}[\./])*{_SEGMENT}"
_is_sysctl = re.compile(_SYSCTL).fullmatch
_IPC_SYSCTLS = (
    "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.msgmnb",
    "kernel.msgmni",
)  # fmt: skip
_MAX_PATH = 4095
_MAX_SPEC = 64 * 1024
_is_netbios = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}').fullmatch
_DNS_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_is_windows_domain = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*").fullmatch
_has_bad_user_character = re.compile(r'["/\\:;|=,+*?<>@\[\]]').search
_is_dots_and_spaces = re.compile(r"[. ]+").fullmatch
_has_control = re.compile(r"[\x00-\x1f\x7f]").search

_PROFILE = {"Type": "", "LocalhostProfile": None}
_CONTEXT = {
    "Capabilities": maybe({"Add": None, "Drop": None}),
    "Privileged": None,
    "SELinuxOptions": maybe({"User": "", "Role": "", "Type": "", "Level": ""}),
    "WindowsOptions": maybe(
        {"GMSACredentialSpecName": None, "GMSACredentialSpec": None, "RunAsUserName": None, "HostProcess": None}
    ),
    "RunAsUser": None,
    "RunAsGroup": None,
    "RunAsNonRoot": None,
    "ReadOnlyRootFilesystem": None,
    "AllowPrivilegeEscalation": None,
    "ProcMount": None,
    "SeccompProfile": maybe(_PROFILE),
    "AppArmorProfile": maybe(_PROFILE),
}


def check_container_security(context: Part, host_users: bool, path: Path, errors: Errors) -> None:
    _check_ids(context, ("runAsUser", "runAsGroup"), path, errors)
    mount = context.get("procMount")
    if mount is not None:
        check_choice(mount, ("Default", "Unmasked"), path.child("procMount"), errors)
        if host_users and mount == "Unmasked":
            errors.append(invalid(path.child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`"))
    if context.get("allowPrivilegeEscalation") is False:
        text = "cannot set `allowPrivilegeEscalation` to false and "
        if context.get("privileged"):
            errors.append(invalid(path, shown(context, _CONTEXT), f"{text}`privileged` to true"))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            errors.append(invalid(path, shown(context, _CONTEXT), f"{text}`capabilities.Add` CAP_SYS_ADMIN"))
    _check_profiles(context, path, errors)


def check_pod_security(context: Part, spec: Part, path: Path, errors: Errors) -> None:
    _check_ids(context, ("fsGroup", "runAsUser", "runAsGroup"), path, errors)
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        for text in names.user_or_group_id(group):
            errors.append(invalid(path.child("supplementalGroups").index(i), group, text))
    if sysctls := context.get("sysctls"):
        _check_sysctls(sysctls, spec, path.child("sysctls"), errors)
    for field, allowed in (
        ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("Recursive",)),
    ):
        if field in context:
            check_choice(context[field], allowed, path.child(field), errors)
    _check_profiles(context, path, errors)


def _check_ids(context: Part, fields: tuple[str, ...], path: Path, errors: Errors) -> None:
    for field in fields:
        value = context.get(field)
        if value is not None:
            for text in names.user_or_group_id(value):
                errors.append(invalid(path.child(field), value, text))


def _check_sysctls(sysctls: list[Part], spec: Part, path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, sysctl in enumerate(sysctls):
        name = sysctl.get("name", "")
        here = path.index(i).child("name")
        if not name:
            errors.append(required(here))
        elif len(name) > 253 or not _is_sysctl(name):
            errors.append(invalid(here, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"))
        elif name in seen:
            errors.append(duplicate(here, name))
        if text := _host_sysctl_fault(name, spec):
            errors.append(invalid(here, name, text))
        seen.add(name)


def _host_sysctl_fault(name: str, spec: Part) -> str:
    """Why a pod that shares a namespace with its node may not set a sysctl of that namespace; empty if it may."""
    dotted = name.replace("/", ".")
    if spec.get("hostNetwork") and dotted.startswith("net."):
        return "may not be specified when 'hostNetwork' is true"
    if spec.get("hostIPC") and (dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue.")):
        return "may not be specified when 'hostIPC' is true"
    return ""


def _check_profiles(context: Part, path: Path, errors: Errors) -> None:
    if (profile := context.get("seccompProfile")) is not None:
        _check_seccomp(profile, path.child("seccompProfile"), errors)
    if (options := context.get("windowsOptions")) is not None:
        _check_windows_options(options, path.child("windowsOptions"), errors)
    if (profile := context.get("appArmorProfile")) is not None:
        _check_app_armor(profile, path.child("appArmorProfile"), errors)


def _check_seccomp(profile: Part, path: Path, errors: Errors) -> None:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        errors.append(required(path.child("type"), "type is required when seccompProfile is set"))
    else:
        check_choice(kind, _PROFILE_TYPES, path.child("type"), errors)
    if kind == "Localhost":
        if local is None:
            errors.append(required(path.child("localhostProfile"), "must be set when seccomp type is Localhost"))
        else:
            check_descending_path(local, path.child("localhostProfile"), errors)
    elif local is not None:
        errors.append(
            invalid(
                path.child("localhostProfile"),
                shown(profile, _PROFILE),
                "can only be set when seccomp type is Localhost",
            )
        )


def _check_app_armor(profile: Part, path: Path, errors: Errors) -> None:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    here = path.child("localhostProfile")
    if kind == "Localhost":
        if local is None or not local:
            errors.append(required(here, "must be set when AppArmor type is Localhost"))
        elif local != local.strip():
            errors.append(invalid(here, local, "must not be padded with whitespace"))
        if local is not None and len(local) > _MAX_PATH:
            errors.append(too_long(here, _MAX_PATH))
    elif not kind:
        errors.append(required(path.child("type"), "type is required when appArmorProfile is set"))
    elif kind not in _PROFILE_TYPES:
        errors.append(not_supported(path.child("type"), kind, _PROFILE_TYPES))
    elif local is not None:
        errors.append(invalid(here, local, "can only be set when AppArmor type is Localhost"))


def _check_windows_options(options: Part, path: Path, errors: Errors) -> None:
    if (name := options.get("gmsaCredentialSpecName")) is not None:
        check_name(names.dns_subdomain, name, path.child("gmsaCredentialSpecName"), errors)
    if (spec := options.get("gmsaCredentialSpec")) is not None:
        here = path.child("gmsaCredentialSpec")
        if not spec:
            errors.append(invalid(here, spec, "gmsaCredentialSpec cannot be an empty string"))
        elif len(spec) > _MAX_SPEC:
            errors.append(invalid(here, spec, "gmsaCredentialSpec size must be under 64 KiB"))
    if (user := options.get("runAsUserName")) is not None:
        _check_windows_user(user, path.child("runAsUserName"), errors)


def _check_windows_user(user: str, path: Path, errors: Errors) -> None:
    if not user:
        errors.append(invalid(path, user, "runAsUserName cannot be an empty string"))
    elif _has_control(user):
        errors.append(invalid(path, user, "runAsUserName cannot contain control characters"))
    elif user.count("\\") > 1:
        errors.append(invalid(path, user, "runAsUserName cannot contain more than one backslash"))
    else:
        domain, separator, name = user.rpartition("\\")
        if separator and not (_is_netbios(domain) or _is_windows_domain(domain)):
            text = "runAsUserName's Domain doesn't match the NetBios nor the DNS format"
            errors.append(invalid(path, user, text))
        if separator and len(domain) > 256:
            errors.append(invalid(path, user, "runAsUserName's Domain length must be under 256 characters"))
        if not name:
            errors.append(invalid(path, user, "runAsUserName's User cannot be empty"))
        elif len(name) > 104:
            errors.append(invalid(path, user, "runAsUserName's User length must not be longer than 104 characters"))
        if _is_dots_and_spaces(name):
            errors.append(invalid(path, user, "runAsUserName's User cannot contain only periods or spaces"))
        if _has_bad_user_character(name):
            text = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
            errors.append(invalid(path, user, text))


def check_windows_absent(part: Part, path: Path, errors: Errors) -> None:
    """A pod for Linux has no options for Windows."""
    if "windowsOptions" in (part.get("securityContext") or {}):
        text = "windows options cannot be set for a linux pod"
        errors.append(field_forbidden(path.child("securityContext").child("windowsOptions"), text))
