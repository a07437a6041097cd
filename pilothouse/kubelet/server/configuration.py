"""`/configz`: how the kubelet is set up, as a KubeletConfiguration. Fields that it does not have are left out."""

from __future__ import annotations

from typing import Any

from pilothouse.kubelet.options import KubeletOptions


def configuration(options: KubeletOptions, *, read_only_port: int, anonymous: bool, authorization: str) -> Any:
    """The KubeletConfiguration of options."""
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": options.port,
        "readOnlyPort": read_only_port,
        "authentication": {"anonymous": {"enabled": anonymous}, "webhook": {"enabled": True, "cacheTTL": "2m0s"}},
        "authorization": {"mode": authorization},
        "clusterDomain": options.cluster_domain,
        "clusterDNS": list(options.cluster_dns),
        "resolvConf": str(options.resolv_conf),
        "maxPods": options.max_pods,
        "podLogsDir": str(options.pod_logs_dir),
        "containerLogMaxSize": str(options.log_max_bytes),
        "containerLogMaxFiles": options.log_max_files,
        "nodeStatusUpdateFrequency": f"{options.status_update_s:g}s",
        "nodeStatusReportFrequency": f"{options.status_report_s:g}s",
        "nodeLeaseDurationSeconds": options.lease_duration_s,
        "seccompDefault": options.default_seccomp,
        "allowedUnsafeSysctls": list(options.allowed_unsafe_sysctls),
        "evictionHard": {"memory.available": str(options.eviction_memory_bytes)},
        "registerWithTaints": [dict(taint) for taint in options.taints],
    }
