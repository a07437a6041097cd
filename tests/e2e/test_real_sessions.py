"""Sessions with containers: attaching, copying, debugging, forwarding of ports; over WebSocket as kubectl and Python speak it, and SPDY."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.e2e.cluster import KUBECTL, Cluster, until
from tests.e2e.images import WEB
from tests.e2e.test_real_pods import Pods, container, pod

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("e2e-real")]


@pytest.fixture
def pods(real: Cluster, real_namespace: str) -> Pods:
    return Pods(real, real_namespace)


def kubectl(pods: Pods, *arguments: str, **options: object) -> str:
    return pods.cluster.kubectl("-n", pods.namespace, *arguments, **options)  # type: ignore[arg-type]


def test_files_are_copied_in_and_out(pods: Pods, tmp_path: Path) -> None:
    pods.start(pod("files"))
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "large").write_bytes(os.urandom(3 << 20))
    (tree / "empty").write_text("")
    kubectl(pods, "cp", str(tree), "files:/tmp/tree")
    kubectl(pods, "cp", "files:/tmp/tree", str(tmp_path / "back"), "--retries=2")
    assert (tmp_path / "back" / "below" / "large").read_bytes() == (tree / "below" / "large").read_bytes()
    assert (tmp_path / "back" / "empty").exists()


@pytest.mark.parametrize("websocket", ["true", "false"])
def test_a_session_by_either_protocol(pods: Pods, websocket: str) -> None:
    pods.start(pod("asked"))
    protocol = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websocket, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websocket}
    echoed = pods.execute("asked", "cat; echo done", "-i", text="x" * 100_000, environment=protocol)
    assert echoed == "x" * 100_000 + "done\n"
    kubectl(pods, "run", "served", f"--image={WEB}", "--port=8080")
    kubectl(pods, "wait", "pod/served", "--for=condition=Ready", "--timeout=30s")
    command = [*pods.cluster.inside, KUBECTL, "port-forward", "pod/served", ":8080", "-n", pods.namespace]
    environment = {**os.environ, "KUBECONFIG": str(pods.cluster.kubeconfig), **protocol}
    with Popen(command, stdout=PIPE, text=True, env=environment) as forward:
        try:
            assert forward.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+) ->", forward.stdout.readline())
            assert found
            for _ in range(3):
                answer = pods.cluster.run("curl", "-sS", "--max-time", "5", f"http://127.0.0.1:{found[1]}")
                assert answer.output == "served\n"
        finally:
            forward.kill()


def test_attaching_shows_what_a_container_prints_and_sends_what_it_reads(pods: Pods) -> None:
    pods.start(pod("talks", container("while read line; do echo got $line; done", stdin=True)))
    command = [*pods.cluster.inside, KUBECTL, "attach", "-i", "talks", "-n", pods.namespace]
    environment = {**os.environ, "KUBECONFIG": str(pods.cluster.kubeconfig)}
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment, bufsize=1) as attached:
        try:
            assert attached.stdin is not None
            assert attached.stdout is not None
            attached.stdin.write("one\n")
            assert attached.stdout.readline() == "got one\n"
            attached.stdin.write("two\n")
            assert attached.stdout.readline() == "got two\n"
        finally:
            attached.kill()
    until(lambda: "got two" in pods.logs("talks"), "the log has it, too")


def test_a_pod_is_run_attached_and_removed(pods: Pods) -> None:
    shown = kubectl(
        pods, "run", "brief", f"--image={WEB}", "--rm", "-i", "--restart=Never", "--quiet", "--", "sh", "-c", "cat; exit 3",
        text="through\n", check=False,
    )  # fmt: skip
    assert "through" in shown
    until(lambda: "NotFound" in kubectl(pods, "get", "pod", "brief", check=False), "the pod is removed")


def test_an_ephemeral_container_sees_the_processes_of_its_target(pods: Pods) -> None:
    pods.start(pod("quiet", container("exec sleep 1000")))
    shown = kubectl(
        pods, "debug", "quiet", f"--image={WEB}", "--target=main", "-c", "look", "--profile=general", "-i", "--quiet",
        "--", "sh", "-c", "ps | grep -v grep | grep 'sleep 1000'",
        text="", check=False,
    )  # fmt: skip
    assert "sleep 1000" in shown + pods.logs("quiet", "-c", "look")
    until(lambda: ephemeral(pods, "quiet").get("state", {}).get("terminated"), "the container ends")


def ephemeral(pods: Pods, name: str) -> dict[str, dict[str, object]]:
    statuses = pods.get(name)["status"].get("ephemeralContainerStatuses") or [{}]
    found: dict[str, dict[str, object]] = statuses[0]
    return found


def test_a_node_is_looked_into(pods: Pods) -> None:
    node = pods.cluster.path("nodes", of=".items[0].metadata.name")
    told = kubectl(
        pods, "debug", f"node/{node}", f"--image={WEB}", "--profile=sysadmin", "--attach=false", "--",
        "sh", "-c", "ls /host/etc/hostname && cat /proc/1/comm",
    )  # fmt: skip
    name = next(word for word in told.split() if word.startswith("node-debugger-"))
    kubectl(pods, "wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    assert pods.logs(name).splitlines() == ["/host/etc/hostname", Path("/proc/1/comm").read_text().strip()]


PYTHON = """
import sys
from kubernetes import client, config
from kubernetes.stream import portforward, stream
config.load_kube_config()
core = client.CoreV1Api()
namespace = sys.argv[1]
print(stream(core.connect_get_namespaced_pod_exec, "spoken", namespace, command=["sh", "-c", "echo out; echo err >&2"],
             stdout=True, stderr=True).split())
shell = stream(core.connect_get_namespaced_pod_exec, "spoken", namespace, command=["sh"], stdin=True, stdout=True,
               stderr=True, _preload_content=False)
shell.write_stdin("echo $((6 * 7))\\n")
print(shell.readline_stdout(timeout=10))
shell.write_stdin("exit 4\\n")
shell.run_forever(timeout=10)
print(shell.returncode)
print(core.read_namespaced_pod_log("spoken", namespace, tail_lines=1).startswith("serving"))
forward = portforward(core.connect_get_namespaced_pod_portforward, "spoken", namespace, ports="8080")
sock = forward.socket(8080)
sock.settimeout(10)
sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
answer = b""
while part := sock.recv(4096):
    answer += part
print(answer.endswith(b"spoken\\n"), forward.error(8080))
"""


def test_the_python_client_speaks_with_a_container(pods: Pods) -> None:
    pytest.importorskip("kubernetes", reason="the Python client `kubernetes` is not installed")
    kubectl(pods, "run", "spoken", f"--image={WEB}", "--port=8080")
    kubectl(pods, "wait", "pod/spoken", "--for=condition=Ready", "--timeout=30s")
    shown = pods.cluster.run(sys.executable, "-c", PYTHON, pods.namespace).output.splitlines()
    assert shown == ["['out', 'err']", "42", "4", "True", "True None"]
