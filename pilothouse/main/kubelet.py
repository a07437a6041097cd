"""`pilothouse kubelet`: the kubelet as a process, over any container runtime that speaks CRI v1."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from pilothouse.api import quantity
from pilothouse.api.meta import NodeName
from pilothouse.kit.clock import Clock, SystemClock
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.server.server import KubeletServer, PortTaken, ServerOptions
from pilothouse.main import kubelet_parts
from pilothouse.main.cluster import node_address
from pilothouse.main.component import Component
from pilothouse.main.connect import KUBECONFIG, connect
from pilothouse.main.failure import Fatal, sentences
from pilothouse.main.flags import Flag, Values, boolean, duration, integer, ip_address, listed, one_of, pairs, port

_DEFAULTS = KubeletOptions(NodeName(""), ())
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def taint(text: str) -> Mapping[str, str]:
    """A Taint of `key=value:effect` or `key:effect`."""
    name, separator, effect = text.rpartition(":")
    key, has_value, value = name.partition("=")
    if not separator or not key or effect not in _EFFECTS:
        raise ValueError(f"must be key=value:effect with an effect of {', '.join(_EFFECTS)}")
    return {"key": key, "value": value, "effect": effect} if has_value else {"key": key, "effect": effect}


def taints(text: str) -> tuple[Mapping[str, str], ...]:
    return tuple(taint(part) for part in listed(text))


def addresses(text: str) -> tuple[str, ...]:
    found = tuple(ip_address(part) for part in listed(text))
    if len(found) > 2:
        raise ValueError("must be one address, or two of different families")
    return found


def size(text: str) -> int:
    try:
        return quantity.to_int(text)
    except ValueError:
        raise ValueError("must be a size such as 10Mi") from None


def endpoint(text: str) -> str:
    if not text.startswith("unix://"):
        raise ValueError("must be a socket such as unix:///run/containerd/containerd.sock")
    return text


FLAGS = (
    KUBECONFIG,
    Flag("hostname-override", "", "name of the node (default: this machine's host name)"),
    Flag("node-ip", (), "addresses of the node (default: that of the default route)", addresses),
    Flag("root-dir", "/var/lib/kubelet", "directory for the pods' volumes and files"),
    Flag("container-runtime-endpoint", "unix:///run/containerd/containerd.sock", "socket of the CRI runtime", endpoint),
    Flag("cgroup-driver", "cgroupfs", "cgroupfs or systemd, as the runtime is set", one_of("cgroupfs", "systemd")),
    Flag("cluster-dns", (), "addresses of the cluster's DNS servers", listed),
    Flag("cluster-domain", "", "domain of the cluster"),
    Flag("resolv-conf", "/etc/resolv.conf", "resolver configuration that pods' own is made from"),
    Flag("node-labels", {}, "labels to register the node with: key=value, comma-separated", pairs),
    Flag("register-with-taints", (), "taints to register the node with: key=value:effect, comma-separated", taints),
    Flag("max-pods", _DEFAULTS.max_pods, "how many pods may run on the node", integer),
    Flag(
        "node-status-update-frequency", _DEFAULTS.status_update_s, "how often the node's status is looked at", duration
    ),
    Flag("seccomp-default", _DEFAULTS.default_seccomp, "RuntimeDefault for pods without a seccomp profile", boolean),
    Flag("allowed-unsafe-sysctls", (), "unsafe sysctls that pods may set; a * at the end stands for any rest", listed),
    Flag("container-log-max-size", _DEFAULTS.log_max_bytes, "size at which a container's log is rotated", size),
    Flag("container-log-max-files", _DEFAULTS.log_max_files, "how many files of a container's log are kept", integer),
    Flag("fail-swap-on", True, "refuse to run while the machine swaps", boolean),
    Flag("address", "0.0.0.0", "address to serve on", ip_address),
    Flag("port", 10250, "port to serve on", port),
    Flag("read-only-port", 0, "port on the loopback for looking, without authentication; 0 for none", port),
    Flag("healthz-port", 10248, "port for /healthz; 0 for none", port),
    Flag("healthz-bind-address", "127.0.0.1", "address for /healthz", ip_address),
    Flag("tls-cert-file", "", "certificate of the server (default: one of its own making in --cert-dir)"),
    Flag("tls-private-key-file", "", "its key"),
    Flag("cert-dir", "/var/lib/kubelet/pki", "directory for certificates of the kubelet's own making"),
    Flag("client-ca-file", "", "authority of the clients' certificates"),
    Flag("anonymous-auth", False, "let requests without credentials in as system:anonymous", boolean),
    Flag(
        "authorization-mode",
        "Webhook",
        "Webhook asks the API server who may what; AlwaysAllow asks nobody",
        one_of("Webhook", "AlwaysAllow"),
    ),
)


def options_of(values: Values) -> KubeletOptions:
    """Raises Fatal."""
    if values.container_log_max_files < 2:
        raise Fatal("--container-log-max-files must be at least 2")
    if values.max_pods < 0:
        raise Fatal("--max-pods must not be negative")
    return KubeletOptions(
        NodeName(values.hostname_override or socket.gethostname().lower()),
        values.node_ip or (node_address(),),
        root_dir=Path(values.root_dir),
        cluster_domain=values.cluster_domain,
        cluster_dns=values.cluster_dns,
        resolv_conf=Path(values.resolv_conf),
        labels=values.node_labels,
        taints=values.register_with_taints,
        max_pods=values.max_pods,
        port=values.port,
        status_update_s=values.node_status_update_frequency,
        default_seccomp=values.seccomp_default,
        log_max_bytes=values.container_log_max_size,
        log_max_files=values.container_log_max_files,
        allowed_unsafe_sysctls=values.allowed_unsafe_sysctls,
    )


def server_options_of(values: Values, options: KubeletOptions, clock: Clock) -> ServerOptions:
    """Raises Fatal. Makes the server's certificate if none is given."""
    if bool(values.tls_cert_file) != bool(values.tls_private_key_file):
        raise Fatal("--tls-cert-file and --tls-private-key-file belong together: give both, or neither")
    certificate, key = Path(values.tls_cert_file), Path(values.tls_private_key_file)
    if not values.tls_cert_file:
        certificate, key = _own_certificate(Path(values.cert_dir), options, clock)
    for flag, file in (("tls-cert-file", certificate), ("tls-private-key-file", key)):
        if not os.access(file, os.R_OK):
            raise Fatal(f"--{flag} {file} cannot be read")
    if values.client_ca_file and not os.access(values.client_ca_file, os.R_OK):
        raise Fatal(f"--client-ca-file {values.client_ca_file} cannot be read")
    return ServerOptions(
        certificate=certificate,
        key=key,
        client_ca=Path(values.client_ca_file) if values.client_ca_file else None,
        address=values.address,
        port=values.port,
        read_only_port=values.read_only_port,
        healthz_address=values.healthz_bind_address,
        healthz_port=values.healthz_port,
        anonymous_auth=values.anonymous_auth,
        always_allow=values.authorization_mode == "AlwaysAllow",
    )


def _own_certificate(directory: Path, options: KubeletOptions, clock: Clock) -> tuple[Path, Path]:
    """Upstream's kubelet, too, signs for itself where it is given nothing."""
    from pilothouse.kit.pki import Authority, Certificate, Pki

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki = Pki(directory, clock)
    server = Certificate(
        "kubelet",
        options.node_name,
        authority="kubelet-ca",
        usages=("server",),
        dns_names=(options.node_name,),
        ip_addresses=(*options.node_ips, "127.0.0.1"),
    )
    pki.ensure((Authority("kubelet-ca", f"{options.node_name}-ca"), server))
    return pki.certificate_path("kubelet"), pki.key_path("kubelet")


def _check_swap() -> None:
    try:
        lines = Path("/proc/swaps").read_text().splitlines()
    except OSError:
        return
    if len(lines) > 1:
        raise Fatal("running with swap on is not supported, please disable swap or set --fail-swap-on=false")


async def run(values: Values) -> None:
    if os.geteuid() != 0:
        raise Fatal("the kubelet needs root: it mounts volumes and makes cgroups")
    if values.fail_swap_on:
        _check_swap()
    clock = SystemClock()
    client = connect(values.kubeconfig, "kubelet")
    options = options_of(values)
    options.root_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    kubelet = kubelet_parts.real(
        client, None, values.container_runtime_endpoint, values.cgroup_driver == "systemd", options, clock
    )
    server = KubeletServer(kubelet, client, server_options_of(values, options, clock), clock)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(kubelet.run())
            group.create_task(server.run())
    except* PortTaken as failures:
        raise Fatal(sentences(failures)) from failures


COMPONENT = Component("kubelet", FLAGS, run)
