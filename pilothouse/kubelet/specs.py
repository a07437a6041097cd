"""The sandbox and the containers that a pod asks for, as the runtime is told to make them. Pure.

Labels and annotations are upstream's, so that a kubelet that starts later, or upstream's own, recognises what runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet import name_resolution, security
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.plan import container_hash
from pilothouse.kubelet.runtime.labels import (
    CONTAINER_NAME_LABEL,
    DELETION_GRACE_ANNOTATION,
    HASH_ANNOTATION,
    MESSAGE_PATH_ANNOTATION,
    MESSAGE_POLICY_ANNOTATION,
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    PORTS_ANNOTATION,
    PRE_STOP_ANNOTATION,
    RESTART_COUNT_ANNOTATION,
    TERMINATION_GRACE_ANNOTATION,
)
from pilothouse.kubelet.runtime.records import Image
from pilothouse.kubelet.runtime.specs import ContainerSpec, Device, Dns, Mount, PortMapping, Resources, SandboxSpec
from pilothouse.kubelet.seams import ConfigError

DEFAULT_MESSAGE_PATH = "/dev/termination-log"


def sandbox_spec(
    pod: PodView, attempt: int, options: KubeletOptions, host_dns: Dns, cgroup_parent: str, resources: Resources
) -> SandboxSpec:
    """Raises ConfigError."""
    if pod.spec.get("hostUsers") is False:
        raise ConfigError("user namespaces (hostUsers: false) are not supported by this node")
    try:
        hostname = "" if pod.host_network else name_resolution.kernel_hostname(pod, options.cluster_domain)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    context = pod.spec.get("securityContext") or {}
    return SandboxSpec(
        name=pod.name,
        namespace=pod.namespace,
        uid=pod.uid,
        attempt=attempt,
        hostname=hostname,
        log_directory=str(options.pod_log_dir(pod.namespace, pod.name, pod.uid)),
        dns=name_resolution.pod_dns(pod, options.cluster_dns, options.cluster_domain, host_dns),
        port_mappings=() if pod.host_network else _port_mappings(pod),
        labels={**pod.labels, **_pod_labels(pod)},
        annotations=pod.annotations,
        cgroup_parent=cgroup_parent,
        security=security.sandbox_security(pod),
        sysctls={entry["name"].replace("/", "."): entry["value"] for entry in context.get("sysctls") or ()},
        resources=resources,
        # The handler of a RuntimeClass is resolved by the caller, who can read it.
    )


def _pod_labels(pod: PodView) -> dict[str, str]:
    return {POD_NAME_LABEL: pod.name, POD_NAMESPACE_LABEL: pod.namespace, POD_UID_LABEL: pod.uid}


def _port_mappings(pod: PodView) -> tuple[PortMapping, ...]:
    sidecars = (container for container in pod.init_containers if container.get("restartPolicy") == "Always")
    return tuple(
        PortMapping(
            port.get("protocol", "TCP"), int(port["containerPort"]), int(port["hostPort"]), port.get("hostIP", "")
        )
        for container in (*pod.containers, *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a container is made of beside its pod's spec."""

    image_ref: str
    image: Image | None
    restart_count: int
    environment: Sequence[tuple[str, str]]
    mounts: Sequence[Mount]
    devices: Sequence[Device]
    resources: Resources
    target_id: str = ""


def container_spec(
    pod: PodView, container: Mapping[str, Any], options: KubeletOptions, ingredients: Ingredients
) -> ContainerSpec:
    """Raises ConfigError."""
    values = dict(ingredients.environment)
    return ContainerSpec(
        name=container["name"],
        attempt=ingredients.restart_count,
        image=ingredients.image_ref,
        user_image=container["image"],
        command=tuple(expand(text, values) for text in container.get("command") or ()),
        args=tuple(expand(text, values) for text in container.get("args") or ()),
        working_dir=container.get("workingDir", ""),
        environment=tuple(ingredients.environment),
        mounts=tuple(ingredients.mounts),
        devices=tuple(ingredients.devices),
        labels={**_pod_labels(pod), CONTAINER_NAME_LABEL: container["name"]},
        annotations=_annotations(pod, container, ingredients.restart_count),
        log_path=f"{container['name']}/{ingredients.restart_count}.log",
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        resources=ingredients.resources,
        security=security.container_security(
            pod,
            container,
            ingredients.image,
            seccomp_dir=options.seccomp_dir,
            default_seccomp=options.default_seccomp,
            target_id=ingredients.target_id,
        ),
    )


def _annotations(pod: PodView, container: Mapping[str, Any], restart_count: int) -> dict[str, str]:
    annotations = {
        HASH_ANNOTATION: container_hash(container),
        RESTART_COUNT_ANNOTATION: str(restart_count),
        MESSAGE_PATH_ANNOTATION: container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH,
        MESSAGE_POLICY_ANNOTATION: container.get("terminationMessagePolicy") or "File",
    }
    if pod.deletion_grace_period_s is not None:
        annotations[DELETION_GRACE_ANNOTATION] = str(pod.deletion_grace_period_s)
    grace = pod.spec.get("terminationGracePeriodSeconds")
    if grace is not None:
        annotations[TERMINATION_GRACE_ANNOTATION] = str(grace)
    if pre_stop := (container.get("lifecycle") or {}).get("preStop"):
        annotations[PRE_STOP_ANNOTATION] = orjson.dumps(pre_stop).decode()
    if ports := container.get("ports"):
        annotations[PORTS_ANNOTATION] = orjson.dumps(ports).decode()
    return annotations


_reference = re.compile(r"\$(?:\$|\(([^()]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value and `$$` by `$`; a name that is not known stays as it is written."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else values.get(name, match.group(0))

    return _reference.sub(replacement, text)
