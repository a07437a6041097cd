"""Whether a pod that was bound to this node may run on it. Pure.

The scheduler has decided on what it knew; a pod that was bound by hand, or whose node has changed since, is checked again and
rejected: it fails with the reason and is never started. Source: upstream's admit handlers and the documentation of sysctls.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from pilothouse.api import placement
from pilothouse.api.views.node import NodeView
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.status import Verdict

SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)  # fmt: skip
_IPC_SYSCTLS = ("kernel.sem", "kernel.msg", "kernel.shm", "fs.mqueue.")
_NET_SYSCTLS = ("net.",)
_OUT_OF = {
    "cpu": "OutOfcpu",
    "memory": "OutOfmemory",
    "ephemeral-storage": "OutOfephemeral-storage",
    "pods": "OutOfpods",
}


def rejection(
    pod: PodView, others: Sequence[PodView], node: NodeView, unsafe_sysctls: Collection[str]
) -> Verdict | None:
    """Why `pod` may not run beside the `others` on `node`; None if it may. `unsafe_sysctls` are allowed, with `*` at the end."""
    os_name = (pod.spec.get("os") or {}).get("name")
    if os_name and os_name != "linux":
        return Verdict("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    policy = (pod.spec.get("securityContext") or {}).get("supplementalGroupsPolicy")
    if policy == "Strict" and not (node.status.get("features") or {}).get("supplementalGroupsPolicy"):
        message = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Verdict("SupplementalGroupsPolicyNotSupported", message)
    return (
        _sysctls(pod, unsafe_sysctls)
        or _resources(pod, others, node)
        or _affinity(pod, node)
        or _ports(pod, others)
        or _taints(pod, node)
    )


def _resources(pod: PodView, others: Sequence[PodView], node: NodeView) -> Verdict | None:
    allocatable = placement.amounts(node.status.get("allocatable"))
    if len(others) + 1 > allocatable.get("pods", 0):
        return _short("pods", 1, len(others), allocatable.get("pods", 0))
    used: dict[str, int] = {}
    for other in others:
        for name, amount in placement.pod_requests(other.spec).items():
            used[name] = used.get(name, 0) + amount
    for name, amount in placement.pod_requests(pod.spec).items():
        # What the node does not know of is a resource of the cluster, counted elsewhere.
        if amount and name in allocatable and amount > allocatable[name] - used.get(name, 0):
            return _short(name, amount, used.get(name, 0), allocatable[name])
    return None


def _short(name: str, requested: int, used: int, capacity: int) -> Verdict:
    message = f"Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
    return Verdict(_OUT_OF.get(name, f"OutOf{name}"), message)


def _affinity(pod: PodView, node: NodeView) -> Verdict | None:
    if placement.node_affinity_matches(pod.spec, node.labels, node.name):
        return None
    return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")


def _ports(pod: PodView, others: Sequence[PodView]) -> Verdict | None:
    wanted = placement.host_ports(pod.spec)
    if not wanted:
        return None
    used = frozenset().union(*(placement.host_ports(other.spec) for other in others))
    if not placement.ports_conflict(wanted, used):
        return None
    return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")


def _taints(pod: PodView, node: NodeView) -> Verdict | None:
    tolerations = pod.spec.get("tolerations") or ()
    if placement.untolerated_taint(node.taints, tolerations, ("NoExecute",)) is None:
        return None
    return _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")


def _predicate(name: str, why: str) -> Verdict:
    return Verdict(name, f"Predicate {name} failed: {why}")


def _sysctls(pod: PodView, unsafe: Collection[str]) -> Verdict | None:
    for entry in (pod.spec.get("securityContext") or {}).get("sysctls") or ():
        name = _dotted(entry["name"])
        if name not in SAFE_SYSCTLS and not any(_allows(pattern, name) for pattern in unsafe):
            return Verdict("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        if name.startswith(_IPC_SYSCTLS) and pod.spec.get("hostIPC"):
            return Verdict("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host ipc enabled')
        if name.startswith(_NET_SYSCTLS) and pod.host_network:
            return Verdict("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host net enabled')
    return None


def _allows(pattern: str, name: str) -> bool:
    pattern = _dotted(pattern)
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _dotted(name: str) -> str:
    """`net/ipv4/tcp_syncookies` → `net.ipv4.tcp_syncookies`; where slashes separate, a dot stands for itself."""
    separator = re.search(r"[./]", name)
    if separator is None or separator.group() == ".":
        return name
    return name.translate(str.maketrans("./", "/."))
