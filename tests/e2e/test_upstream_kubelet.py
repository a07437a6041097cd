"""Upstream's kubelet as it is, with real containers, beside our API server and upstream's controllers and scheduler.

`KUBELET`, `KUBE_CONTROLLER_MANAGER` and `KUBE_SCHEDULER` name the binaries, unless they are on PATH; without them this is skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.e2e import images, machine
from tests.e2e.cluster import until
from tests.e2e.conftest import require_real
from tests.e2e.images import WEB
from tests.e2e.upstream import Standalone, executable, upstream_node

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("e2e-upstream")]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    require_real()
    for variable, name in (
        ("KUBELET", "kubelet"),
        ("KUBE_CONTROLLER_MANAGER", "kube-controller-manager"),
        ("KUBE_SCHEDULER", "kube-scheduler"),
    ):
        executable(variable, name)
    directory = tmp_path_factory.mktemp("node")
    with machine.network_namespace(f"pilothouse-upstream-{os.getpid()}") as inside:
        with upstream_node(directory, inside, machine.NODE_ADDRESS) as found:
            archive = directory / "web.tar"
            archive.write_bytes(images.web())
            socket = found.paths.run / "containerd" / "containerd.sock"
            found.run("ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", str(archive))
            yield found
        until(lambda: not machine.mounts(directory), "nothing is left mounted", 10)


def test_the_node_joined_by_a_token(node: Standalone) -> None:
    asked = {each["spec"]["signerName"]: each for each in node.get("csr")["items"]}
    client, server = asked["kubernetes.io/kube-apiserver-client-kubelet"], asked["kubernetes.io/kubelet-serving"]
    assert client["spec"]["username"] == "system:bootstrap:abcdef"
    assert client["status"]["conditions"][0]["reason"] == "AutoApproved"
    assert server["spec"]["username"] == "system:node:real"
    assert all(each["status"]["certificate"] for each in asked.values())


def test_the_node_reports_itself(node: Standalone) -> None:
    info = node.get("node", "real")["status"]
    assert info["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    assert {each["type"]: each["status"] for each in info["conditions"]}["Ready"] == "True"
    node.wait("--for=create", "lease/real", "-n", "kube-node-lease")
    assert node.path("lease", "real", "-n", "kube-node-lease", of=".spec.holderIdentity") == "real"
    assert node.get("csinode", "real")["spec"]["drivers"] is None


def test_a_pod_from_its_creation_to_its_deletion(node: Standalone) -> None:
    node.kubectl("create", "configmap", "settings", "--from-literal=colour=green")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "initContainers": [{"name": "first", "image": WEB, "command": ["sh", "-c", "echo first"]}],
            "containers": [
                {
                    "name": "web",
                    "image": WEB,
                    "ports": [{"containerPort": images.PORT}],
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "readinessProbe": {"httpGet": {"path": "/healthy", "port": images.PORT}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "settings", "mountPath": "/settings"}],
                }
            ],
            "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
        },
    }
    node.apply(pod)
    node.wait("pod/web", "--for=condition=Ready")
    assert node.kubectl("logs", "web", "-c", "first") == "first\n"
    script = "cat /settings/colour; echo; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; echo $IP"
    colour, namespace, address = node.kubectl("exec", "web", "-c", "web", "--", "sh", "-c", script).split()
    assert (colour, namespace, address) == ("green", "default", node.path("pod", "web", of=".status.podIP"))
    assert node.kubectl("exec", "-i", "web", "-c", "web", "--", "cat", text="through") == "through"
    proxied = node.kubectl("get", "--raw", f"/api/v1/namespaces/default/pods/web:{images.PORT}/proxy/")
    assert proxied == "web\n"
    known = json.loads(node.kubectl("get", "--raw", "/api/v1/nodes/real/proxy/pods"))
    assert "web" in {each["metadata"]["name"] for each in known["items"]}
    node.kubectl("debug", "web", f"--image={WEB}", "-c", "look", "--profile=general", "--attach=false", "--", "true")
    until(lambda: node.get("pod", "web")["status"].get("ephemeralContainerStatuses"), "the ephemeral container")
    events = node.kubectl("events", "--for", "pod/web")
    assert all(reason in events for reason in ("Scheduled", "Pulled", "Created", "Started"))
    node.kubectl("delete", "pod", "web", "--timeout=30s")


def test_a_job_ends(node: Standalone) -> None:
    node.kubectl("create", "job", "once", f"--image={WEB}", "--", "sh", "-c", "echo done")
    node.wait("job/once", "--for=condition=Complete")
    assert node.kubectl("logs", "job/once") == "done\n"


def test_the_proxy_leads_to_pods(node: Standalone) -> None:
    """`KUBE_PROXY` names the binary, or it is on PATH."""
    proxy = (
        executable("KUBE_PROXY", "kube-proxy"),
        f"--kubeconfig={node.paths.kubeconfigs / 'proxy.conf'}",
        "--hostname-override=real",
        "--proxy-mode=nftables",
        f"--cluster-cidr={node.settings.pod_cidr}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    )
    node.kubectl("create", "deployment", "served", f"--image={WEB}", "--replicas=2", f"--port={images.PORT}")
    node.kubectl("expose", "deployment", "served", "--port=80", f"--target-port={images.PORT}")
    node.kubectl("rollout", "status", "deployment/served", "--timeout=30s")
    address = node.path("service", "served", of=".spec.clusterIP")
    with node.running("proxy", *proxy):
        ask = ("curl", "-s", "--max-time", "2", f"http://{address}")
        until(lambda: node.run(*ask, check=False).output.startswith("served-"), "an answer by the Service's address")
        names = {node.run(*ask).output for _ in range(20)}
        assert len(names) == 2
        node.kubectl("scale", "deployment", "served", "--replicas=0")
        until(lambda: node.run(*ask, check=False).status == 7, "a Service without endpoints refuses")
    assert node.faults("proxy") == []


def test_nothing_is_missing(node: Standalone) -> None:
    """Runs last: what the components wrote during all of this."""
    assert node.faults("kubelet", "controllers", "scheduler") == []
