"""A real node whose processes are killed, that is stopped and started again, and that finds its machine in use or incomplete."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from pilothouse.main.runtime.requirements import find_program
from tests.e2e import machine
from tests.e2e.cluster import Cluster, until
from tests.e2e.images import PORT, WEB
from tests.e2e.test_faults import one_sentence

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("e2e-real")]

NAMESPACE = "steady"
COMPONENTS = ("apiserver", "control", "node", "containerd", "supervisor")


class Web:
    """Two pods behind a Service, which must not notice anything."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._address = cluster.path("service", "web", "-n", NAMESPACE, of=".spec.clusterIP")

    @property
    def pids(self) -> set[int]:
        """The first processes of the pods' containers and sandboxes."""
        running = machine.containers_pids(self.cluster.directory)
        items = self.cluster.get("pods", "-n", NAMESPACE)["items"]
        identities = (status["containerID"] for item in items for status in item["status"]["containerStatuses"])
        return {running[identity.removeprefix("containerd://")] for identity in identities}

    def answers(self) -> bool:
        told = self.cluster.run("curl", "-sS", "-m", "3", f"http://{self._address}", check=False)
        return told.output.startswith("web-")

    def works(self) -> None:
        """Wait until the API answers, the node is ready, and a new pod runs and is gone again."""
        until(lambda: self.cluster.status().get("api") == "ready", "the API is ready")
        self.cluster.wait("node", "--all", "--for=condition=Ready")
        run = ("run", "probe", f"--image={WEB}", "-n", NAMESPACE)
        until(lambda: "created" in self.cluster.kubectl(*run, check=False), "pods are accepted")
        self.cluster.wait("pod/probe", "-n", NAMESPACE, "--for=condition=Ready")
        self.cluster.kubectl("delete", "pod", "probe", "-n", NAMESPACE, "--timeout=40s", "--grace-period=1")


def pid_of(cluster: Cluster, name: str) -> int:
    if name == "containerd":
        # The file is empty while a new process is noted.
        pid = int(cluster.directory.joinpath("run", "containerd", "containerd.pid").read_text() or 0)
        return pid if Path(f"/proc/{pid}/exe").exists() else 0
    return int(cluster.component(name).get("pid", 0))


@pytest.fixture(scope="module")
def web(real: Cluster) -> Iterator[Web]:
    kubectl = real.kubectl
    kubectl("create", "namespace", NAMESPACE)
    real.wait("--for=create", "serviceaccount/default", "-n", NAMESPACE)
    try:
        kubectl("create", "deployment", "web", f"--image={WEB}", "--replicas=2", "-n", NAMESPACE)
        kubectl("expose", "deployment", "web", "--port=80", f"--target-port={PORT}", "-n", NAMESPACE)
        kubectl("rollout", "status", "deployment", "web", "-n", NAMESPACE, "--timeout=60s")
        found = Web(real)
        until(found.answers, "the service answers")
        yield found
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_killed_process_comes_back_and_containers_go_on(real: Cluster, web: Web, name: str) -> None:
    before = web.pids
    kept = real.kubectl("create", "configmap", f"kept-{name}", "-n", NAMESPACE)
    assert "created" in kept
    pid = pid_of(real, name)
    os.kill(pid, signal.SIGKILL)
    assert web.answers()
    until(lambda: pid_of(real, name) not in (0, pid), f"{name} comes back")
    web.works()
    assert web.pids == before
    assert web.answers()
    assert f"kept-{name}" in real.kubectl("get", "configmaps", "-n", NAMESPACE)
    statuses = real.path(
        "pods", "-n", NAMESPACE, "-l", "app=web", of=".items[*].status.containerStatuses[*].restartCount"
    )
    assert set(statuses.split()) == {"0"}


def test_a_pod_whose_sandbox_is_killed_gets_another(real: Cluster, web: Web) -> None:
    real.kubectl("run", "boxed", f"--image={WEB}", "-n", NAMESPACE)
    real.wait("pod/boxed", "-n", NAMESPACE, "--for=condition=Ready")
    uid = real.path("pod", "boxed", "-n", NAMESPACE, of=".metadata.uid")
    before = real.path("pod", "boxed", "-n", NAMESPACE, of=".status.podIP")
    os.kill(machine.sandbox_pid(real.directory, uid), signal.SIGKILL)
    until(lambda: real.path("pod", "boxed", "-n", NAMESPACE, of=".status.podIP") not in ("", before), "a new address")
    real.wait("pod/boxed", "-n", NAMESPACE, "--for=condition=Ready")
    real.kubectl("delete", "pod", "boxed", "-n", NAMESPACE, "--grace-period=1", "--timeout=30s")
    assert web.answers()


def test_a_pod_that_ends_while_the_node_is_killed_ends(real: Cluster, web: Web) -> None:
    deaf = ("--command", "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    real.kubectl("run", "deaf", f"--image={WEB}", "-n", NAMESPACE, *deaf)
    real.wait("pod/deaf", "-n", NAMESPACE, "--for=condition=Ready")
    real.kubectl("delete", "pod", "deaf", "-n", NAMESPACE, "--grace-period=2", "--wait=false")
    os.kill(pid_of(real, "node"), signal.SIGKILL)
    real.wait("pod/deaf", "-n", NAMESPACE, "--for=delete")
    web.works()


def test_pods_that_start_while_the_node_is_killed_start_once(real: Cluster, web: Web) -> None:
    real.kubectl("create", "deployment", "many", f"--image={WEB}", "--replicas=12", "-n", NAMESPACE)
    until(lambda: real.path("deployment", "many", "-n", NAMESPACE, of=".status.readyReplicas"), "the first is ready")
    os.kill(pid_of(real, "node"), signal.SIGKILL)
    real.kubectl("rollout", "status", "deployment", "many", "-n", NAMESPACE, "--timeout=60s")
    items = real.get("pods", "-n", NAMESPACE, "-l", "app=many")["items"]
    addresses = {item["status"]["podIP"] for item in items}
    assert len(addresses) == len(items) == 12
    for item in items:
        assert machine.sandbox_pid(real.directory, item["metadata"]["uid"])
    uids = {item["metadata"]["uid"] for item in items}
    real.kubectl("delete", "deployment", "many", "-n", NAMESPACE)
    real.wait("pod", "-l", "app=many", "-n", NAMESPACE, "--for=delete")
    until(lambda: not machine.cgroups(uids), "their control groups are gone")
    until(lambda: not any(uid in mount for uid in uids for mount in machine.mounts(real.directory)), "and their mounts")


def test_up_adopts_the_containers_after_everything_was_killed(real: Cluster, web: Web) -> None:
    before = web.pids
    # The supervisor last: each of the others would start a new one.
    pids = [pid_of(real, name) for name in ("node", "containerd", "control", "apiserver", "supervisor")]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    until(lambda: real.status()["running"] is False, "the cluster is dead")
    assert all(Path(f"/proc/{pid}").exists() for pid in before)
    real.up()
    web.works()
    assert web.pids == before
    assert web.answers()


def test_down_leaves_nothing_and_up_brings_all_back(real: Cluster, web: Web) -> None:
    uids = real.path("pods", "-n", NAMESPACE, of=".items[*].metadata.uid").split()
    addresses = machine.namespace_state()["interfaces"]
    assert "pilothouse0" in addresses
    images = real.pilothouse("image", "list").output
    real.down()
    assert machine.processes(real.directory) == []
    assert machine.mounts(real.directory) == []
    assert machine.attachments(real.directory) == []
    assert machine.cgroups(set(uids)) == []
    state = machine.namespace_state()
    assert "pilothouse" not in state["interfaces"]
    assert state["rules"] == ""
    assert state["listeners"] == ""
    assert one_sentence(real.pilothouse("image", "list", check=False))
    with Popen([*real.inside, sys.executable, "-c", LISTENER], stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "listening\n"
        assert "port 10250" in one_sentence(real.up(check=False))
        other.kill()
    real.up()
    web.works()
    assert sorted(real.path("pods", "-n", NAMESPACE, of=".items[*].metadata.uid").split()) == sorted(uids)
    until(web.answers, "the service answers again")
    assert real.pilothouse("image", "list").output == images


LISTENER = """
import socket, sys
with socket.create_server(("0.0.0.0", 10250)):
    print("listening", flush=True)
    sys.stdin.read()
"""


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    runc = find_program("runc")
    if runc is None:
        pytest.skip("runc is not installed")
    hidden = ("/usr/bin/unshare", "--mount", "/bin/sh", "-c", '/bin/mount --bind /dev/null "$0" && exec "$@"', runc)
    programs = Cluster(tmp_path, 6443, hidden)
    told = programs.up(check=False, environment={"PATH": "/nonexistent"})
    assert "runc" in one_sentence(told)
    assert machine.processes(tmp_path) == []
