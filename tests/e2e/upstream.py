"""Upstream's own components beside `pilothouse apiserver`: processes by their binaries, as somebody sets them up by hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


def executable(variable: str, name: str) -> str:
    """The binary that an environment variable names, or that is on PATH. Skips the test where there is none."""
    found = os.environ.get(variable) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed: {variable} may name it")
    return found


class Standalone(Cluster):
    """An API server by itself. `log` gives what a component that was started beside it wrote."""

    paths: Paths
    settings: Settings

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    @contextmanager
    def running(self, name: str, *command: str) -> Iterator[None]:
        """A process until the end of the block. Fails the test if it has ended before."""
        with open(self.directory / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            yield
            assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kubeconfig_flags(self, user: str, port: int) -> list[str]:
        """A component's credentials, also for asking who calls its own port."""
        file = self.paths.kubeconfigs / f"{user}.conf"
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [*(f"--{name}={file}" for name in names), "--bind-address=127.0.0.1", f"--secure-port={port}"]


@contextmanager
def standalone(directory: Path, nodes: int) -> Iterator[Standalone]:
    """`pilothouse apiserver` and simulated nodes."""
    found = Standalone(directory, free_port())
    found.paths = paths_for(directory)
    found.settings = settings.changed(cluster.default_settings(simulated=nodes), secure_port=found.port)
    for path in (found.paths.kubeconfigs, found.paths.pki, found.paths.kubelet, found.paths.database.parent):
        path.mkdir(parents=True, exist_ok=True)
    credentials.ensure(found.paths, found.settings, SystemClock())
    settings.save(found.paths, found.settings)
    server = cluster.processes(found.settings, found.paths, directory)[0].argv
    with ExitStack() as stack:
        stack.enter_context(
            found.running("apiserver", *(flag for flag in server if not flag.startswith("--warn-without-effect")))
        )
        until(lambda: is_ready(found), "the API server is ready", START_LIMIT_S)
        stack.enter_context(found.running("nodes", sys.executable, "-m", "tests.e2e.nodes", str(directory)))
        yield found


def is_ready(found: Standalone) -> bool:
    try:
        return found.request("GET", "/readyz").status == 200
    except OSError:
        return False


@contextmanager
def upstream(directory: Path) -> Iterator[Standalone]:
    """An API server of ours, with upstream's controllers and scheduler and nodes without containers."""
    controller_manager = executable("KUBE_CONTROLLER_MANAGER", "kube-controller-manager")
    scheduler = executable("KUBE_SCHEDULER", "kube-scheduler")
    with ExitStack() as stack:
        found = stack.enter_context(standalone(directory, 2))
        pki = found.paths.pki
        port = free_port(found.port)
        stack.enter_context(
            found.running(
                "controllers",
                controller_manager,
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
            )
        )
        stack.enter_context(
            found.running("scheduler", scheduler, *found.kubeconfig_flags("scheduler", free_port(port)))
        )
        until(lambda: len(found.get("leases", "-n", "kube-system")["items"]) >= 2, "both lead", START_LIMIT_S)
        until(lambda: len(ready_nodes(found)) == 2, "the nodes are ready", START_LIMIT_S)
        yield found


def ready_nodes(found: Cluster) -> list[str]:
    return [
        node["metadata"]["name"]
        for node in found.get("nodes")["items"]
        if node["spec"].get("podCIDR") and not node["spec"].get("taints")
    ]
