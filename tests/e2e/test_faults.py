"""What breaks a cluster, and what its user then sees: killed processes, ports in use, damaged files, full disks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import machine
from tests.e2e.cluster import Cluster, Result, until

pytestmark = pytest.mark.xdist_group("e2e-simulated")

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def start(cluster: Cluster, *arguments: str, check: bool = True) -> Result:
    return cluster.up("--simulated", "1", "--secure-port", str(cluster.port), *arguments, check=check)


def kill(cluster: Cluster, name: str) -> int:
    """Kill a component, as soon as it runs; its pid."""
    pid: int = until(lambda: cluster.component(name).get("pid"), f"{name} runs")
    os.kill(pid, signal.SIGKILL)
    return pid


def one_sentence(result: Result) -> str:
    """What a failed command said: one line, no traceback, exit status 1."""
    assert result.status == 1, result
    lines = [line for line in result.errors.splitlines() if line.startswith("pilothouse: ")]
    assert len(lines) == 1, result
    assert "Traceback" not in result.errors
    return lines[0]


def create(cluster: Cluster, name: str) -> int:
    try:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        return cluster.request("POST", CONFIG_MAPS, body).status
    except OSError:
        return 0


def names(cluster: Cluster) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.request("GET", CONFIG_MAPS).json["items"]}


@pytest.mark.parametrize("name", ["apiserver", "control", "node", "supervisor"])
def test_a_killed_process_comes_back_and_the_others_go_on(simulated: Cluster, name: str) -> None:
    others = {component["name"]: component["pid"] for component in simulated.status()["components"]}
    pid = kill(simulated, name)
    assert pid == others.pop(name)
    until(lambda: simulated.component(name).get("pid", pid) != pid, f"{name} comes back")
    until(lambda: simulated.status().get("api") == "ready", "the API is ready")
    now = {component["name"]: component["pid"] for component in simulated.status()["components"]}
    assert {other: now[other] for other in others} == others
    until(lambda: all(node["ready"] for node in simulated.status()["nodes"]), "the nodes are ready")


def test_pods_run_after_everything_was_killed_once(simulated: Cluster, namespace: str) -> None:
    simulated.kubectl("create", "deployment", "before", "--image=a", "--replicas=3", "-n", namespace)
    simulated.kubectl("rollout", "status", "deployment", "before", "-n", namespace, "--timeout=30s")
    uids = simulated.path("pods", "-n", namespace, of=".items[*].metadata.uid")
    for name in ("supervisor", "node", "control", "apiserver"):
        kill(simulated, name)
    until(lambda: len([c for c in simulated.status()["components"] if c["pid"]]) == 4, "all processes are back")
    until(lambda: simulated.status().get("api") == "ready", "the API is ready")
    simulated.kubectl("create", "deployment", "after", "--image=a", "-n", namespace)
    simulated.kubectl("rollout", "status", "deployment", "after", "-n", namespace, "--timeout=60s")
    assert simulated.path("pods", "-n", namespace, "-l", "app=before", of=".items[*].metadata.uid") == uids


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(private: Cluster) -> None:
    start(private)
    acknowledged: set[str] = set()

    def write(worker: int) -> None:
        for number in range(200):
            if create(private, f"w{worker}-{number}") == 201:
                acknowledged.add(f"w{worker}-{number}")

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(write, worker) for worker in range(4)]
        for _ in range(3):
            reached = len(acknowledged)
            until(
                lambda reached=reached: len(acknowledged) > reached + 20 or all(w.done() for w in work), "writes go on"
            )
            pid = kill(private, "apiserver")
            until(lambda pid=pid: private.component("apiserver").get("pid", pid) != pid, "the server comes back")
        for done in work:
            done.result()
    until(lambda: private.status().get("api") == "ready", "the API is ready")
    assert acknowledged
    assert acknowledged <= names(private)


def test_down_and_up_bring_the_same_cluster_back(private: Cluster) -> None:
    start(private)
    assert create(private, "kept") == 201
    uid = private.request("GET", f"{CONFIG_MAPS}/kept").json["metadata"]["uid"]
    private.down()
    assert private.status()["running"] is False
    private.up()
    assert private.request("GET", f"{CONFIG_MAPS}/kept").json["metadata"]["uid"] == uid
    assert "already running" in private.up().errors
    assert "with another --secure-port" in one_sentence(private.up("--secure-port", "1", check=False))
    assert oct(private.kubeconfig.stat().st_mode)[-3:] == "600"
    assert private.pilothouse("kubeconfig").output == private.kubeconfig.read_text()
    assert "apiserver" in private.pilothouse("logs", "nothing", check=False).errors


def test_down_ends_what_a_killed_supervisor_left(private: Cluster) -> None:
    start(private)
    pids = {component["name"]: component["pid"] for component in private.status()["components"]}
    # Stopped, none of them can start another supervisor.
    for name in ("apiserver", "control", "node"):
        os.kill(pids[name], signal.SIGSTOP)
    os.kill(pids["supervisor"], signal.SIGKILL)
    private.down()
    assert machine.processes(private.directory) == []


def test_reset_asks_and_deletes(private: Cluster) -> None:
    start(private)
    assert private.pilothouse("reset", text="n\n", check=False).status == 1
    assert private.status()["running"] is True
    private.pilothouse("reset", text="y\n")
    assert not (private.directory / "data").exists()
    assert "no cluster" in private.down().errors
    start(private)
    assert "kept" not in names(private)


def test_a_port_in_use(private: Cluster) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("0.0.0.0", private.port))
        other.listen()
        assert f"port {private.port}" in one_sentence(start(private, check=False))
    start(private)


def test_a_damaged_database(private: Cluster) -> None:
    start(private)
    create(private, "kept")
    private.down()
    database = private.directory / "data" / "store" / "state.db"
    saved = {file: file.read_bytes() for file in database.parent.iterdir()}
    for file in saved:
        file.unlink()
    database.write_bytes(b"SQLite format 3\0" + os.urandom(20000))
    damaged = database.read_bytes()
    assert str(database) in one_sentence(private.up(check=False))
    assert database.read_bytes() == damaged, "what may still be saved is not overwritten"
    private.down()
    for file, content in saved.items():
        file.write_bytes(content)
    private.up()
    assert "kept" in names(private)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node_name": 1, "colour": "red"}', '{"simulated": "many"}'])
def test_unreadable_settings(private: Cluster, text: str) -> None:
    private.directory.joinpath("data").mkdir()
    settings = private.directory / "data" / "cluster.json"
    settings.write_text(text)
    assert str(settings) in one_sentence(start(private, check=False))
    assert settings.read_text() == text
    settings.unlink()


def test_a_directory_that_cannot_be_written(private: Cluster) -> None:
    (private.directory / "data").write_text("a file")
    assert "data" in one_sentence(start(private, check=False))
    (private.directory / "data").unlink()


@pytest.fixture
def small_disk(private: Cluster) -> Iterator[Path]:
    """The store's directory on a file system of 3 MB."""
    store = private.directory / "data" / "store"
    store.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(store)], capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield store
    finally:
        private.down()
        subprocess.run(["umount", str(store)], check=True)


@is_root
@pytest.mark.real
def test_a_full_disk_refuses_writes_and_loses_nothing(private: Cluster, small_disk: Path) -> None:
    start(private)
    acknowledged, refused = set(), None
    for number in range(100):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"n{number}"},
            "data": {"a": "x" * 100_000},
        }
        answer = private.request("POST", CONFIG_MAPS, body)
        if answer.status != 201:
            refused = answer
            break
        acknowledged.add(f"n{number}")
    assert refused is not None
    assert refused.status in (500, 503, 507), refused
    assert "full" in refused.json["message"], refused.json
    assert acknowledged <= names(private)
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    until(lambda: create(private, "again") == 201, "writes go on when there is room")
    private.down()
    private.up()
    assert acknowledged | {"again"} <= names(private)


def test_certificates_that_are_damaged_or_missing(private: Cluster) -> None:
    start(private)
    private.down()
    pki = private.directory / "data" / "pki"
    kept = (pki / "ca.key").read_bytes()
    (pki / "ca.key").write_text("nonsense")
    (pki / "apiserver.crt").unlink()
    assert "ca.key" in one_sentence(private.up(check=False))
    (pki / "ca.key").write_bytes(kept)
    private.up()
    assert private.request("GET", "/readyz").status == 200


def test_users_kubeconfig_gets_a_context_and_loses_nothing(private: Cluster, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: mine\ncontexts: [{name: mine, context: {cluster: c, user: u}}]\n"
    )
    environment = {"KUBECONFIG": str(theirs)}
    arguments = ("--simulated", "1", "--secure-port", str(private.port))
    private.pilothouse("up", *arguments, environment=environment)
    contexts = private.kubectl("config", "get-contexts", "-o", "name", environment=environment).split()
    assert set(contexts) == {"mine", "pilothouse"}
    told = private.kubectl("--context=pilothouse", "get", "nodes", "-o", "json", environment=environment)
    assert len(json.loads(told)["items"]) == 1
    assert oct(theirs.stat().st_mode)[-3:] == "600"
    private.pilothouse("reset", "--yes", environment=environment)
    assert private.kubectl("config", "get-contexts", "-o", "name", environment=environment).split() == ["mine"]
