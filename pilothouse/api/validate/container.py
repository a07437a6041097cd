"""Containers of a pod: regular, init (with sidecars) and ephemeral. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pilothouse.api import names
from pilothouse.api.path import (
    Path,
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
    too_many,
)
from pilothouse.api.validate.environment import check_env, check_env_from
from pilothouse.api.validate.probe import check_lifecycle, check_probes
from pilothouse.api.validate.resources import check_requirements
from pilothouse.api.validate.security import check_container_security
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_choice,
    check_descending_path,
    check_required_choice,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_READ_ONLY = ("Disabled", "Enabled", "IfPossible")
_NOT_EPHEMERAL = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "restartPolicy",
    "restartPolicyRules",
    "resizePolicy",
)
_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the containers of a pod must know of it."""

    volumes: Mapping[str, Part]
    """The valid volumes by name."""
    claims: Collection[str]
    """The names of its resource claims."""
    grace_period_s: int | None
    restart_policy: str
    host_users: bool
    os: Part | None


def check_containers(containers: Sequence[Part], facts: PodFacts, path: Path, errors: Errors) -> None:
    if not containers:
        errors.append(required(path))
        return
    seen: set[str] = set()
    for i, container in enumerate(containers):
        here = path.index(i)
        _check_common(container, facts, here, errors)
        name = container.get("name", "")
        if name in seen:
            errors.append(duplicate(here.child("name"), name))
        seen.add(name)
        _check_running(container, facts, here, errors)
        if "restartPolicy" in container or "restartPolicyRules" in container:
            _check_restart(container, here, errors)
    _check_host_ports(containers, path, errors)


def check_init_containers(
    containers: Sequence[Part], regular: Sequence[Part], facts: PodFacts, path: Path, errors: Errors
) -> None:
    seen = {container.get("name", "") for container in regular}
    for i, container in enumerate(containers):
        here = path.index(i)
        _check_common(container, facts, here, errors)
        if "restartPolicy" in container or "restartPolicyRules" in container:
            _check_restart(container, here, errors, is_init=True)
        name = container.get("name", "")
        if name in seen:
            errors.append(duplicate(here.child("name"), name))
        elif name:
            seen.add(name)
        _check_host_ports((container,), path, errors)
        if container.get("restartPolicy") == "Always":
            _check_running(container, facts, here, errors)
            continue
        for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if field in container:
                errors.append(field_forbidden(here.child(field), _ONLY_SIDECARS))
        for j, policy in enumerate(container.get("resizePolicy") or ()):
            if policy.get("restartPolicy") == "RestartContainer":
                text = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                errors.append(
                    invalid(here.child("resizePolicy").index(j).child("restartPolicy"), "RestartContainer", text)
                )


def check_ephemeral_containers(
    containers: Sequence[Part], others: Collection[str], facts: PodFacts, path: Path, errors: Errors
) -> None:
    """`others` are the names of the pod's other containers."""
    seen = set(others)
    for i, container in enumerate(containers):
        here = path.index(i)
        _check_common(container, facts, here, errors)
        check_image_trimmed(container, here, errors)
        name = container.get("name", "")
        if name in seen:
            errors.append(duplicate(here.child("name"), name))
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.append(field_not_found(here.child("targetContainerName"), target))
        text = "cannot be set for an Ephemeral Container"
        for field in _NOT_EPHEMERAL:
            if container.get(field) or isinstance(container.get(field), dict):
                errors.append(field_forbidden(here.child(field), text))
        if container.get("resources"):
            errors.append(field_forbidden(here.child("resources"), text))
        for j, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    errors.append(field_forbidden(here.child("volumeMounts").index(j).child(field), text))


def _check_common(container: Part, facts: PodFacts, path: Path, errors: Errors) -> None:
    get = container.get
    name = get("name", "")
    if not name:
        errors.append(required(path.child("name")))
    elif messages := names.dns_label(name):
        errors.extend(invalid(path.child("name"), name, text) for text in messages)
    if not get("image"):
        errors.append(required(path.child("image")))
    check_required_choice(container, "terminationMessagePolicy", _MESSAGE_POLICIES, path, errors)
    if ports := get("ports"):
        _check_ports(ports, path.child("ports"), errors)
    if env := get("env"):
        check_env(env, path.child("env"), errors)
    if sources := get("envFrom"):
        check_env_from(sources, path.child("envFrom"), errors)
    mounts, devices = get("volumeMounts"), get("volumeDevices")
    if mounts:
        _check_mounts(mounts, devices or (), container, facts, path.child("volumeMounts"), errors)
    if devices:
        _check_devices(devices, mounts or (), facts, path.child("volumeDevices"), errors)
    check_required_choice(container, "imagePullPolicy", PULL_POLICIES, path, errors)
    if resources := get("resources"):
        check_requirements(resources, facts.claims, path.child("resources"), errors)
    if policies := get("resizePolicy"):
        _check_resize_policies(policies, facts, path.child("resizePolicy"), errors)
    if context := get("securityContext"):
        check_container_security(context, facts.host_users, path.child("securityContext"), errors)


def _check_running(container: Part, facts: PodFacts, path: Path, errors: Errors) -> None:
    """Hooks and probes, which containers have that go on running."""
    if (lifecycle := container.get("lifecycle")) is not None:
        check_lifecycle(lifecycle, facts.grace_period_s, facts.os, path.child("lifecycle"), errors)
    if "livenessProbe" in container or "readinessProbe" in container or "startupProbe" in container:
        check_probes(container, facts.grace_period_s, path, errors)


def check_image_trimmed(container: Part, path: Path, errors: Errors) -> None:
    """A template may have white space around an image, a pod may not."""
    image = container.get("image", "")
    if image != image.strip():
        errors.append(invalid(path.child("image"), image, "must not have leading or trailing whitespace"))


def _check_ports(ports: Sequence[Part], path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        if name := port.get("name"):
            if messages := names.port_name(name):
                errors.extend(invalid(path.index(i).child("name"), name, text) for text in messages)
            elif name in seen:
                errors.append(duplicate(path.index(i).child("name"), name))
            else:
                seen.add(name)
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            errors.append(required(path.index(i).child("containerPort")))
        elif not 0 < number < 65536:
            errors.append(invalid(path.index(i).child("containerPort"), number, names.between(1, 65535)))
        if host and not 0 < host < 65536:
            errors.append(invalid(path.index(i).child("hostPort"), host, names.between(1, 65535)))
        if port.get("protocol") not in PROTOCOLS:
            check_required_choice(port, "protocol", PROTOCOLS, path.index(i), errors)


def _check_host_ports(containers: Sequence[Part], path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            if number := port.get("hostPort"):
                key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{number}"
                if key in seen:
                    errors.append(duplicate(path.index(i).child("ports").index(j).child("hostPort"), key))
                seen.add(key)


def _check_mounts(
    mounts: Sequence[Part], devices: Sequence[Part], container: Part, facts: PodFacts, path: Path, errors: Errors
) -> None:
    seen: set[str] = set()
    device_paths = {device.get("name", ""): device.get("devicePath", "") for device in devices}
    for i, mount in enumerate(mounts):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(path.index(i).child("name")))
        if name not in facts.volumes:
            errors.append(field_not_found(path.index(i).child("name"), name))
        if not target:
            errors.append(required(path.index(i).child("mountPath")))
        if target in seen:
            errors.append(invalid(path.index(i).child("mountPath"), target, "must be unique"))
        seen.add(target)
        if name in device_paths:
            errors.append(invalid(path.index(i).child("name"), name, "must not already exist in volumeDevices"))
        if target in device_paths.values():
            text = "must not already exist as a path in volumeDevices"
            errors.append(invalid(path.index(i).child("mountPath"), target, text))
        sub_path, expression = mount.get("subPath"), mount.get("subPathExpr")
        if sub_path:
            check_descending_path(sub_path, path.child("subPath"), errors)
        if expression:
            if sub_path:
                text = "subPathExpr and subPath are mutually exclusive"
                errors.append(invalid(path.index(i).child("subPathExpr"), expression, text))
            check_descending_path(expression, path.child("subPathExpr"), errors)
        if "mountPropagation" in mount or "recursiveReadOnly" in mount:
            _check_mount_kind(mount, container, path, errors)


def _check_mount_kind(mount: Part, container: Part, path: Path, errors: Errors) -> None:
    propagation, read_only = mount.get("mountPropagation"), mount.get("recursiveReadOnly", "Disabled")
    if propagation is not None:
        here = path.child("mountPropagation")
        check_choice(propagation, _PROPAGATIONS, here, errors)
        if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            text = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(field_forbidden(here, text))
    here = path.child("recursiveReadOnly")
    if read_only not in _READ_ONLY:
        errors.append(not_supported(here, read_only, _READ_ONLY))
    elif read_only != "Disabled":
        if not mount.get("readOnly"):
            errors.append(field_forbidden(here, "may only be specified when readOnly is true"))
        if propagation not in (None, "None"):
            text = "may only be specified when mountPropagation is None or not specified"
            errors.append(field_forbidden(here, text))


def _check_devices(
    devices: Sequence[Part], mounts: Sequence[Part], facts: PodFacts, path: Path, errors: Errors
) -> None:
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    mount_paths = {mount.get("name", ""): mount.get("mountPath", "") for mount in mounts}
    for i, device in enumerate(devices):
        name, target = device.get("name", ""), device.get("devicePath", "")
        name_path, target_path = path.index(i).child("name"), path.index(i).child("devicePath")
        volume = facts.volumes.get(name)
        if not name:
            errors.append(required(name_path))
        if name in seen_names:
            errors.append(invalid(name_path, name, "must be unique"))
        if volume is None:
            errors.append(field_not_found(name_path, name))
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(name_path, name, text))
        if not target:
            errors.append(required(target_path))
        if target in seen_paths:
            errors.append(invalid(target_path, target, "must be unique"))
        if ".." in target.split("/"):
            errors.append(invalid(target_path, target, "can not contain backsteps ('..')"))
        else:
            seen_paths.add(target)
        if name in mount_paths:
            errors.append(invalid(name_path, name, "must not already exist in volumeMounts"))
        if target in mount_paths.values():
            errors.append(invalid(target_path, target, "must not already exist as a path in volumeMounts"))
        if name:
            seen_names.add(name)


def _check_resize_policies(policies: Sequence[Part], facts: PodFacts, path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        resource, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if resource in seen:
            errors.append(duplicate(path.index(i), resource))
        seen.add(resource)
        for value, allowed in ((resource, ("cpu", "memory")), (restart, ("NotRequired", "RestartContainer"))):
            if not value:
                errors.append(required(path))
            else:
                check_choice(value, allowed, path, errors)
        if facts.restart_policy == "Never" and restart != "NotRequired":
            text = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(invalid(path, restart, text))


def _check_restart(container: Part, path: Path, errors: Errors, *, is_init: bool = False) -> None:
    """The rules of an init container without a policy are not looked at."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if rules:
            text = "must specify restartPolicy when restart rules are used"
            errors.append(required(path.child("restartPolicy"), text))
        if is_init:
            return
    else:
        check_choice(policy, _RESTART_POLICIES, path.child("restartPolicy"), errors)
    if len(rules) > 20:
        errors.append(too_many(path.child("restartPolicyRules"), len(rules), 20))
    for i, rule in enumerate(rules):
        here = path.child("restartPolicyRules").index(i)
        check_choice(rule.get("action", ""), _RESTART_ACTIONS, here.child("action"), errors)
        codes = rule.get("exitCodes")
        if codes is None:
            errors.append(required(here.child("exitCodes"), "must be specified"))
            continue
        check_choice(codes.get("operator", ""), ("In", "NotIn"), here.child("exitCodes", "operator"), errors)
        count = len(codes.get("values") or ())
        if count > 255:
            errors.append(too_many(here.child("exitCodes", "values"), count, 255))
