"""Services and names on a real node: from the host and from pods, over TCP and UDP."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.e2e import machine
from tests.e2e.cluster import KUBECTL, Cluster, Object, until
from tests.e2e.images import PORT, WEB

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("e2e-real")]

NAMESPACE = "services"
UDP_ANSWERER = """
import os, socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", int(sys.argv[1])))
print("bound", flush=True)
while True:
    data, peer = server.recvfrom(1000)
    server.sendto(sys.argv[2].encode(), peer)
"""
UDP_CLIENT = """
import socket, sys
for _ in range(int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((sys.argv[1], int(sys.argv[2])))
        client.send(b"who?")
        print(client.recv(1000).decode())
"""


def service(name: str, selector: str, *ports: Object, **spec: Any) -> Object:
    ports = ports or ({"port": 80, "targetPort": PORT},)
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": selector}, "ports": ports, **spec},
    }


class Net:
    """Three web pods, and a pod to ask from."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        items = cluster.get("pods", "-l", "app=web", "-n", NAMESPACE)["items"]
        self.pods = {item["metadata"]["name"]: item["status"]["podIP"] for item in items}

    def address(self, name: str, of: str = ".spec.clusterIP") -> str:
        return self.cluster.path("service", name, "-n", NAMESPACE, of=of)

    def curl(self, url: str, times: int = 1, *, check: bool = True) -> list[str]:
        """What `times` connections from the host get."""
        loop = f"for n in $(seq {times}); do curl -sS -m 5 {url} || exit $?; done"
        return self.cluster.run("sh", "-c", loop, check=check).output.split()

    def from_pod(self, script: str, *, check: bool = True) -> str:
        return self.cluster.kubectl("exec", "-n", NAMESPACE, "client", "--", "sh", "-c", script, check=check)

    def wget(self, url: str, times: int = 1) -> list[str]:
        return self.from_pod(f"for n in $(seq {times}); do timeout 5 wget -q -O - {url} || exit; done").split()


@pytest.fixture(scope="module")
def net(real: Cluster) -> Iterator[Net]:
    real.kubectl("create", "namespace", NAMESPACE)
    real.wait("--for=create", "serviceaccount/default", "-n", NAMESPACE)
    try:
        real.kubectl("create", "deployment", "web", f"--image={WEB}", "--replicas=3", "-n", NAMESPACE)
        real.kubectl("run", "client", f"--image={WEB}", "--command", "-n", NAMESPACE, "--", "sleep", "3600")
        real.apply(
            service("web", "web", type="NodePort"),
            service("headless", "web", clusterIP="None"),
            service("sticky", "web", sessionAffinity="ClientIP"),
            service("empty", "nobody"),
            service("datagrams", "web", {"port": 5000, "targetPort": 5001, "protocol": "UDP"}, type="NodePort"),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "alias"},
                "spec": {"type": "ExternalName", "externalName": "example.org"},
            },
            namespace=NAMESPACE,
        )
        real.kubectl("rollout", "status", "deployment", "web", "-n", NAMESPACE, "--timeout=60s")
        real.wait("pod/client", "-n", NAMESPACE, "--for=condition=Ready")
        net = Net(real)
        until(lambda: net.curl(f"http://{net.address('sticky')}", check=False), "the rules are there")
        yield net
    finally:
        real.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


@contextmanager
def udp_answerers(net: Net) -> Iterator[None]:
    """A program in each web pod's network that answers datagrams with the pod's name."""
    pids = machine.containers_pids(net.cluster.directory)
    started: list[Popen[str]] = []
    try:
        for item in net.cluster.get("pods", "-l", "app=web", "-n", NAMESPACE)["items"]:
            identity = item["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
            inside = ["nsenter", f"--net=/proc/{pids[identity]}/ns/net", sys.executable, "-c", UDP_ANSWERER]
            started.append(Popen([*inside, "5001", item["metadata"]["name"]], stdout=PIPE, text=True))
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "bound\n"
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_cluster_ip_spreads_over_the_pods_from_the_host(net: Net) -> None:
    counts = Counter(net.curl(f"http://{net.address('web')}", 40))
    assert set(counts) == set(net.pods)


def test_a_cluster_ip_spreads_over_the_pods_from_a_pod(net: Net) -> None:
    assert set(net.wget(f"http://{net.address('web')}", 40)) == set(net.pods)


def test_a_node_port_spreads_over_the_pods_from_everywhere(net: Net) -> None:
    port = net.address("web", ".spec.ports[0].nodePort")
    assert 30000 <= int(port) <= 32767
    assert set(net.curl(f"http://{machine.NODE_ADDRESS}:{port}", 40)) == set(net.pods)
    assert set(net.wget(f"http://{machine.NODE_ADDRESS}:{port}", 40)) == set(net.pods)


def test_a_pod_reaches_itself_through_its_service(net: Net) -> None:
    name = min(net.pods)
    script = f"for n in $(seq 30); do timeout 5 wget -q -O - http://{net.address('web')}; done"
    answers = net.cluster.kubectl("exec", "-n", NAMESPACE, name, "--", "sh", "-c", script).split()
    assert name in answers
    assert len(answers) == 30


def test_datagrams_spread_over_the_pods(net: Net) -> None:
    port = net.address("datagrams", ".spec.ports[0].nodePort")
    with udp_answerers(net):
        for address, number in ((net.address("datagrams"), "5000"), (machine.NODE_ADDRESS, port)):
            answers = net.cluster.run(sys.executable, "-c", UDP_CLIENT, address, number, "40").output.split()
            assert set(answers) == set(net.pods)


def test_session_affinity_keeps_a_client_with_one_pod(net: Net) -> None:
    assert len(set(net.curl(f"http://{net.address('sticky')}", 20))) == 1
    assert len(set(net.wget(f"http://{net.address('sticky')}", 20))) == 1


def test_a_service_without_endpoints_refuses_at_once(net: Net) -> None:
    began = time.monotonic()
    told = net.cluster.run("curl", "-sS", "-m", "5", f"http://{net.address('empty')}", check=False)
    assert told.status == 7, told
    assert "refused" in net.from_pod(f"timeout 5 wget -O - http://{net.address('empty')} 2>&1", check=False)
    assert time.monotonic() - began < 4


def resolve(net: Net, name: str, kind: str = "a") -> set[str]:
    """The addresses that a pod gets for a name."""
    answer = net.from_pod(f"nslookup -type={kind} {name}", check=False)
    return set(re.findall(r"^Address: (\S+)$", answer.replace("Address 1:", "Address:"), re.MULTILINE))


def test_names(net: Net) -> None:
    assert resolve(net, f"web.{NAMESPACE}.svc.cluster.local") == {net.address("web")}
    assert resolve(net, f"headless.{NAMESPACE}.svc.cluster.local") == set(net.pods.values())
    address = min(net.pods.values())
    assert resolve(net, f"{address.replace('.', '-')}.{NAMESPACE}.pod.cluster.local") == {address}
    assert resolve(net, "kubernetes.default.svc.cluster.local") == {"10.96.0.1"}
    assert "NXDOMAIN" in net.from_pod("nslookup -type=a none.default.svc.cluster.local", check=False)
    assert "example.org" in net.from_pod(f"nslookup -type=cname alias.{NAMESPACE}.svc.cluster.local", check=False)


@pytest.mark.parametrize("name", ["web", f"web.{NAMESPACE}", f"web.{NAMESPACE}.svc"])
def test_short_names(net: Net, name: str) -> None:
    assert set(net.wget(f"http://{name}", 3)) <= set(net.pods)


def test_a_pod_reaches_the_api_with_its_token(net: Net) -> None:
    directory = "/var/run/secrets/kubernetes.io/serviceaccount"
    token, authority = net.from_pod(f"cat {directory}/token"), net.from_pod(f"cat {directory}/ca.crt")
    bundle = net.cluster.directory / "pod-ca.crt"
    bundle.write_text(authority)
    identity = net.cluster.path("pod", "client", "-n", NAMESPACE, of=".status.containerStatuses[0].containerID")
    pid = machine.containers_pids(net.cluster.directory)[identity.removeprefix("containerd://")]
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "curl", "-sS", "-m", "5", "--cacert", str(bundle))
    header = ("-H", f"Authorization: Bearer {token}")
    told = net.cluster.run(*inside, *header, "https://10.96.0.1/apis/authentication.k8s.io/v1").output
    assert "selfsubjectreviews" in told
    told = net.cluster.run(*inside, *header, "https://10.96.0.1/api/v1/secrets").output
    assert f'User \\"system:serviceaccount:{NAMESPACE}:default\\" cannot list resource' in told


def test_a_pod_that_is_not_ready_gets_no_connections(net: Net) -> None:
    name = min(net.pods)
    net.cluster.kubectl("label", "pod", name, "app=apart", "--overwrite", "-n", NAMESPACE)
    url = f"http://{net.address('web')}"
    until(lambda: name not in net.curl(url, 15), "the pod left the service")
    net.cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false")


def test_port_forwarding(net: Net) -> None:
    command = [*net.cluster.inside, KUBECTL, "port-forward", "service/web", ":80", "-n", NAMESPACE]
    environment = {
        "KUBECONFIG": str(net.cluster.kubeconfig),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    with Popen(command, stdout=PIPE, text=True, env=environment) as forward:
        try:
            assert forward.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+) ->", forward.stdout.readline())
            assert found
            assert net.curl(f"http://127.0.0.1:{found[1]}")[0].startswith("web-")
        finally:
            forward.kill()
