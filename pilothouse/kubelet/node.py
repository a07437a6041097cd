"""The Node object of this kubelet: what it registers and the status that it reports. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.kubelet.machine import Machine
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime.records import Image, RuntimeConditions, RuntimeVersion

MAX_IMAGES = 50
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the status is made from."""

    options: KubeletOptions
    machine: Machine
    version: str
    """Of the kubelet, as `v1.36.0`."""
    runtime: RuntimeVersion | None
    """None: the runtime does not answer."""
    conditions: RuntimeConditions | None
    images: Sequence[Image]
    now: float


def registration(facts: NodeFacts) -> Object:
    """The Node to create, its first status included."""
    options = facts.options
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": options.node_name,
            "labels": labels(facts),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
        "status": status(facts, {}),
    }
    if options.taints:
        node["spec"]["taints"] = [dict(taint) for taint in options.taints]
    return node


def labels(facts: NodeFacts) -> dict[str, str]:
    architecture = facts.machine.architecture
    return {
        **facts.options.labels,
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": facts.options.node_name,
        "kubernetes.io/os": "linux",
    }


def status(facts: NodeFacts, previous: Mapping[str, Any]) -> Object:
    """The whole status; conditions keep their transition times from `previous`, and others' conditions are left out."""
    options, machine, runtime = facts.options, facts.machine, facts.runtime
    capacity = _capacity(options, machine)
    before = previous.get("nodeInfo") or {}
    return {
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in options.node_ips),
            {"type": "Hostname", "address": options.node_name},
        ],
        "capacity": capacity,
        "allocatable": _allocatable(options, machine, capacity),
        "conditions": _conditions(facts, previous),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": options.port}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel_version,
            "osImage": machine.os_image,
            "containerRuntimeVersion": f"{runtime.name}://{runtime.version}"
            if runtime is not None
            else before.get("containerRuntimeVersion", "Unknown"),
            "kubeletVersion": facts.version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
        "images": [
            {"names": [*image.digests, *image.tags], "sizeBytes": image.size_bytes}
            for image in sorted(facts.images, key=lambda image: -image.size_bytes)[:MAX_IMAGES]
            if image.digests or image.tags
        ],
    }


def is_ready(status: Mapping[str, Any]) -> bool:
    return meta.is_condition_true(status.get("conditions"), "Ready")


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses of this kubelet differ in nothing but heartbeats."""
    return _without_heartbeats(one) == _without_heartbeats(other)


def _without_heartbeats(status: Mapping[str, Any]) -> Object:
    conditions = [
        {key: value for key, value in condition.items() if key != "lastHeartbeatTime"}
        for condition in status.get("conditions") or ()
    ]
    return {**status, "conditions": conditions}


def _capacity(options: KubeletOptions, machine: Machine) -> dict[str, str]:
    return {
        "cpu": str(machine.cpus),
        "ephemeral-storage": f"{machine.disk_bytes // 1024}Ki",
        **{f"hugepages-{_page(size)}": _pages(size, count) for size, count in machine.hugepages},
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "pods": str(options.max_pods),
    }


def _page(kibibytes: int) -> str:
    for unit, factor in (("Gi", 1024 * 1024), ("Mi", 1024)):
        if kibibytes % factor == 0:
            return f"{kibibytes // factor}{unit}"
    return f"{kibibytes}Ki"


def _pages(kibibytes: int, count: int) -> str:
    return _page(kibibytes * count) if count else "0"


def _allocatable(options: KubeletOptions, machine: Machine, capacity: Mapping[str, str]) -> dict[str, str]:
    reserved = options.kube_reserved_memory_bytes + options.eviction_memory_bytes
    hugepages = sum(size * 1024 * count for size, count in machine.hugepages)
    return {
        **capacity,
        # What eviction keeps free of the disk: nodefs.available < 10%.
        "ephemeral-storage": str(machine.disk_bytes * 9 // 10),
        "memory": f"{max(0, machine.memory_bytes - reserved - hugepages) // 1024}Ki",
    }


def _conditions(facts: NodeFacts, previous: Mapping[str, Any]) -> list[Object]:
    problem = _problem(facts)
    ready: Object = (
        {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": problem}
        if problem
        else {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
        }
    )
    conditions: list[Object] = [
        {"type": type_, "status": "False", "reason": reason, "message": message}
        for type_, reason, message in _PRESSURES
    ]
    conditions.append(ready)
    now = meta.format_time(facts.now)
    for condition in conditions:
        before = meta.condition_of(previous.get("conditions"), condition["type"])
        unchanged = before is not None and before["status"] == condition["status"]
        condition["lastHeartbeatTime"] = now
        condition["lastTransitionTime"] = (before or {}).get("lastTransitionTime") or now if unchanged else now
    return conditions


def _problem(facts: NodeFacts) -> str:
    if facts.conditions is None:
        return "container runtime is down"
    if facts.conditions.runtime_ready and facts.conditions.network_ready:
        return ""
    return facts.conditions.message or "container runtime status check may not have completed yet"
