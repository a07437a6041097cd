"""How a kubelet is set up. A frozen value, made by whoever composes the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pilothouse.api.meta import UID, NodeName


@dataclass(frozen=True, slots=True)
class KubeletOptions:
    node_name: NodeName
    node_ips: tuple[str, ...]
    """The node's own addresses, at most one of each family, the primary one first."""
    root_dir: Path = Path("/var/lib/pilothouse/kubelet")
    pod_logs_dir: Path = Path("/var/log/pods")
    container_logs_dir: Path = Path("/var/log/containers")
    cluster_domain: str = "cluster.local"
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    resolv_conf: Path = Path("/etc/resolv.conf")
    seccomp_dir: Path = Path("/var/lib/kubelet/seccomp")
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels to register with, beside kubernetes.io/hostname, os and arch."""
    taints: tuple[Mapping[str, str], ...] = ()
    max_pods: int = 110
    port: int = 10250
    kube_reserved_memory_bytes: int = 0
    eviction_memory_bytes: int = 100 * 1024 * 1024
    """evictionHard memory.available: what allocatable memory leaves free."""
    status_report_s: float = 300.0
    """How often an unchanged node status is written anyway."""
    status_update_s: float = 10.0
    lease_duration_s: int = 40
    relist_s: float = 10.0
    """How often the runtime is asked for everything while its events flow; every second when they do not."""
    concurrent_sandbox_starts: int = 6
    default_seccomp: bool = False
    """Whether pods without a seccomp profile get the runtime's (upstream's seccompDefault)."""
    log_max_bytes: int = 10 * 1024 * 1024
    log_max_files: int = 5
    crash_backoff_initial_s: float = 10.0
    crash_backoff_max_s: float = 300.0
    allowed_unsafe_sysctls: tuple[str, ...] = ()

    def pod_dir(self, uid: UID) -> Path:
        """Where a pod's volumes, hosts file and termination messages live."""
        return self.root_dir / "pods" / uid

    def container_dir(self, uid: UID, container: str) -> Path:
        return self.pod_dir(uid) / "containers" / container

    def pod_log_dir(self, namespace: str, name: str, uid: UID) -> Path:
        return self.pod_logs_dir / f"{namespace}_{name}_{uid}"
