from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.views.node import NodeView
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.admission import rejection
from pilothouse.kubelet.status import Verdict

NODE = NodeView(
    {
        "metadata": {"name": "n1", "labels": {"disk": "ssd"}},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
    }
)


def asking(cpu: str = "0", **spec: Any) -> PodView:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return PodView({"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}})


def refused(pod: PodView, *others: PodView, node: NodeView = NODE, unsafe: tuple[str, ...] = ()) -> Verdict:
    verdict = rejection(pod, others, node, unsafe)
    assert verdict is not None
    return verdict


def test_what_fits_may_run() -> None:
    assert rejection(asking("1"), [asking("1")], NODE, ()) is None


def test_what_does_not_fit_is_told_in_numbers() -> None:
    verdict = refused(asking("1500m"), asking("1"))
    assert verdict.reason == "OutOfcpu"
    assert verdict.message == "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
    assert refused(asking(), asking(), asking(), asking()).reason == "OutOfpods"


def test_a_resource_that_the_node_does_not_know_is_not_its_business() -> None:
    container = {"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}
    assert rejection(asking(containers=[container]), [], NODE, ()) is None


def test_affinity_ports_and_taints() -> None:
    assert refused(asking(nodeSelector={"disk": "hdd"})).reason == "NodeAffinity"
    port = {"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}
    assert refused(asking(containers=[port]), asking(containers=[port])).reason == "NodePorts"
    tainted = NodeView({**NODE.obj, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
    assert refused(asking(), node=tainted).reason == "TaintToleration"
    assert rejection(asking(tolerations=[{"operator": "Exists"}]), [], tainted, ()) is None


@pytest.mark.parametrize(
    ("name", "spec", "unsafe", "message"),
    [
        ("kernel.msgmax", {}, (), 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("kernel/msgmax", {}, (), 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("kernel.msgmax", {}, ("kernel.msg*",), ""),
        (
            "kernel.msgmax",
            {"hostIPC": True},
            ("kernel.msg*",),
            'forbidden sysctl: "kernel.msgmax" not allowed with host ipc enabled',
        ),
        ("net.ipv4.tcp_syncookies", {}, (), ""),
        ("net/ipv4/tcp_syncookies", {}, (), ""),
        (
            "net.ipv4.tcp_syncookies",
            {"hostNetwork": True},
            (),
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
    ],
)
def test_sysctls(name: str, spec: dict[str, Any], unsafe: tuple[str, ...], message: str) -> None:
    pod = asking(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)
    verdict = rejection(pod, [], NODE, unsafe)
    assert (verdict.message if verdict else "") == message
