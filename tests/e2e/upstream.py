"""Upstream's own components beside `pilothouse apiserver`: processes by their binaries, as somebody sets them up by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock
from pilothouse.main import cluster, credentials, settings
from pilothouse.main.paths import Paths, paths_for
from pilothouse.main.settings import Settings
from tests.e2e.cluster import Cluster, free_port, until

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 60.0
NEVER = re.compile(
    r"forbidden|could not find the requested resource|no kind is registered|unable to decode|cannot be handled as"
    r"|[Ff]ailed to watch|failed to list|unknown field|proto:|panic"
)
"""What a component of upstream's does not log while it finds everything that it looks for."""
EXPECTED = re.compile(
    r"service-ca-cert-publisher|metrics\.k8s\.io|because it is being terminated|User \\\"system:anonymous\\\""
)
"""Apart from this: OpenShift's build has a controller whose role only OpenShift's API server has; nobody serves metrics; the tests'
namespaces end under the controllers' hands; a kubelet that joins is nobody until it has its certificate."""


def executable(variable: str, name: str) -> str:
    """The binary that an environment variable names, or that is on PATH. Skips the test where there is none."""
    found = os.environ.get(variable) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed: {variable} may name it")
    return found


@dataclass
class Standalone(Cluster):
    """An API server by itself. `log` gives what a component that was started beside it wrote."""

    paths: Paths = field(init=False)
    settings: Settings = field(init=False)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def faults(self, *names: str) -> list[str]:
        """What these components logged of the things they should never have to."""
        lines = (line for name in names for line in self.log(name).splitlines())
        found = [line for line in lines if line[:1] in "WEF" and NEVER.search(line)]
        return [line for line in found if not EXPECTED.search(line)]

    @contextmanager
    def running(self, name: str, *command: str) -> Iterator[None]:
        """A process until the end of the block. Fails the test if it has ended before."""
        self._start(name, command)
        try:
            yield
            process = self._processes[name]
            assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}"
        finally:
            process = self._processes[name]
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill_and_restart(self, name: str) -> None:
        """As a crash does, and who starts it again."""
        process = self._processes[name]
        process.kill()
        process.wait()
        self._start(name, tuple(process.args)[len(self.inside) :])  # type: ignore[arg-type]

    def _start(self, name: str, command: Sequence[str]) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self.inside, *command], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
            )

    def until_ready(self) -> None:
        until(lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok", "the API server", START_LIMIT_S)

    def kubeconfig_flags(self, user: str, port: int) -> list[str]:
        """A component's credentials, also for asking who calls its own port."""
        file = self.paths.kubeconfigs / f"{user}.conf"
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [*(f"--{name}={file}" for name in names), "--bind-address=127.0.0.1", f"--secure-port={port}"]


@contextmanager
def standalone(directory: Path, chosen: Settings, inside: Sequence[str] = ()) -> Iterator[Standalone]:
    """`pilothouse apiserver` and the credentials of a whole cluster."""
    found = Standalone(directory, chosen.secure_port, inside)
    found.paths, found.settings = paths_for(directory), chosen
    for path in (found.paths.kubeconfigs, found.paths.pki, found.paths.kubelet, found.paths.database.parent):
        path.mkdir(parents=True, exist_ok=True)
    credentials.ensure(found.paths, chosen, SystemClock())
    settings.save(found.paths, chosen)
    server = cluster.processes(chosen, found.paths, directory)[0].argv
    own = (flag for flag in server if not flag.startswith("--warn-without-effect"))
    with found.running("apiserver", *own, "--enable-bootstrap-token-auth"):
        found.until_ready()
        yield found


@contextmanager
def upstream(directory: Path) -> Iterator[Standalone]:
    """An API server of ours, with upstream's controllers and scheduler and nodes without containers."""
    chosen = settings.changed(cluster.default_settings(simulated=2), secure_port=free_port())
    nodes = (sys.executable, "-m", "tests.e2e.nodes", str(directory))
    with standalone(directory, chosen) as found, control(found), found.running("nodes", *nodes):
        until(lambda: len(ready_nodes(found)) == 2, "the nodes are ready", START_LIMIT_S)
        yield found


@contextmanager
def upstream_node(directory: Path, inside: Sequence[str], address: str) -> Iterator[Standalone]:
    """The same with upstream's kubelet, which has a containerd in the network namespace of `inside`.

    It joins as a stranger does: with a bootstrap token it asks for the certificate of its node, and then for one of its server.
    """
    kubelet = executable("KUBELET", "kubelet")
    base = settings.changed(cluster.default_settings(), node_ip=address, node_name="real")
    with standalone(directory, base, inside) as found, control(found):
        configuration = directory / "kubelet.json"
        configuration.write_text(json.dumps(kubelet_configuration(found)))
        invite(found)
        with found.running("host", sys.executable, "-m", "tests.e2e.host", str(directory)):
            until((found.paths.run / "containerd" / "containerd.sock").exists, "containerd's socket", START_LIMIT_S)
            with found.running(
                "kubelet",
                kubelet,
                f"--bootstrap-kubeconfig={directory / 'bootstrap.conf'}",
                f"--kubeconfig={directory / 'kubelet.conf'}",
                f"--cert-dir={directory / 'kubelet-pki'}",
                f"--config={configuration}",
                f"--root-dir={found.paths.kubelet}",
                "--hostname-override=real",
                f"--node-ip={address}",
            ):
                until(lambda: len(ready_nodes(found)) == 1, f"the node is ready; {directory}", START_LIMIT_S)
                approve_server(found)
                yield found
                # Its pods go while it can still end them.
                found.kubectl("delete", "pods", "--all", "-A", "--grace-period=1", "--timeout=30s")


def invite(found: Standalone) -> None:
    """A bootstrap token and what its bearers may, as kubeadm makes them; and a kubeconfig with it."""
    for name, role, group in (
        ("join", "system:node-bootstrapper", "system:bootstrappers"),
        ("approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers"),
        ("renew", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"),
    ):
        found.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--group={group}")
    token = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
    found.kubectl(
        *("create", "secret", "generic", "bootstrap-token-abcdef", "-n", "kube-system"),
        "--type=bootstrap.kubernetes.io/token",
        *(f"--from-literal={key}={value}" for key, value in token.items()),
    )
    flags = (f"--kubeconfig={found.directory / 'bootstrap.conf'}",)
    server = (f"--server={found.settings.server}", f"--certificate-authority={found.paths.pki / 'ca.crt'}")
    found.kubectl("config", "set-cluster", "c", *server, *flags)
    found.kubectl("config", "set-credentials", "u", "--token=abcdef.0123456789abcdef", *flags)
    found.kubectl("config", "set-context", "x", "--cluster=c", "--user=u", *flags)
    found.kubectl("config", "use-context", "x", *flags)


def approve_server(found: Standalone) -> None:
    """Upstream's controllers leave it to the administrator whether a node may serve by a name."""

    def asked() -> list[str]:
        return [
            each["metadata"]["name"]
            for each in found.get("csr")["items"]
            if each["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
        ]

    names = until(asked, "the kubelet asks for its server's certificate")
    found.kubectl("certificate", "approve", *names)
    until(lambda: found.kubectl("get", "--raw", "/api/v1/nodes/real/proxy/healthz", check=False) == "ok", "it serves")


def kubelet_configuration(found: Standalone) -> dict[str, object]:
    """Of a kubelet that shares a machine: without control groups for pods, and without judging the machine's disk."""
    pki = found.paths.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(pki / "ca.crt")}, "webhook": {"enabled": True}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{found.paths.run / 'containerd' / 'containerd.sock'}",
        "rotateCertificates": True,
        "serverTLSBootstrap": True,
        "podLogsDir": str(found.paths.pod_logs),
        "clusterDNS": [found.settings.dns_ip],
        "clusterDomain": found.settings.domain,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "nodeStatusUpdateFrequency": "2s",
    }


@contextmanager
def control(found: Standalone) -> Iterator[None]:
    """Upstream's controllers and scheduler, when both lead."""
    pki = found.paths.pki
    port = free_port(found.port)
    controllers = (
        executable("KUBE_CONTROLLER_MANAGER", "kube-controller-manager"),
        *found.kubeconfig_flags("controller-manager", port),
        "--controllers=*,bootstrap-signer-controller,token-cleaner-controller",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--allocate-node-cidrs",
        f"--cluster-cidr={found.settings.pod_cidr}",
        f"--service-cluster-ip-range={found.settings.service_cidr}",
        "--horizontal-pod-autoscaler-sync-period=1s",
        f"--flex-volume-plugin-dir={found.directory / 'volume-plugins'}",
    )
    scheduler = (executable("KUBE_SCHEDULER", "kube-scheduler"), *found.kubeconfig_flags("scheduler", free_port(port)))
    with found.running("controllers", *controllers), found.running("scheduler", *scheduler):
        until(lambda: len(found.get("leases", "-n", "kube-system")["items"]) >= 2, "both lead", START_LIMIT_S)
        yield


def ready_nodes(found: Cluster) -> list[str]:
    return [
        node["metadata"]["name"]
        for node in found.get("nodes")["items"]
        if node["spec"].get("podCIDR") and not node["spec"].get("taints")
    ]
