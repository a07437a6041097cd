from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.meta import NodeName
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet import specs
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime.records import Image
from pilothouse.kubelet.runtime.specs import Dns, NamespaceMode, PortMapping, Resources, SeccompKind
from pilothouse.kubelet.seams import ConfigError
from pilothouse.kubelet.security import container_security, namespaces

OPTIONS = KubeletOptions(NodeName("n1"), ("10.0.0.9",))
ROOT = Image("sha256:1")


def view(**spec: Any) -> PodView:
    metadata = {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"}}
    return PodView({"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}})


def secured(pod: PodView, context: dict[str, Any] | None = None, image: Image = ROOT) -> Any:
    container = {"name": "c", "securityContext": context or {}}
    return container_security(pod, container, image, seccomp_dir=Path("/seccomp"), default_seccomp=False)


def made(container: dict[str, Any], environment: list[tuple[str, str]]) -> Any:
    ingredients = specs.Ingredients("sha256:1", ROOT, 2, environment, (), (), Resources())
    return specs.container_spec(view(containers=[container]), container, OPTIONS, ingredients)


def test_references_expand_and_dollars_escape() -> None:
    values = {"A": "1", "EMPTY": ""}
    for text, expected in [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("x$(EMPTY)y", "xy"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("$", "$"),
    ]:
        assert specs.expand(text, values) == expected


def test_a_container_carries_what_a_later_kubelet_needs() -> None:
    container = {
        "name": "c",
        "image": "i",
        "command": ["run", "$(A)"],
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
    }
    spec = made(container, [("A", "1")])
    assert spec.command == ("run", "1")
    assert spec.labels == {
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u",
        "io.kubernetes.container.name": "c",
    }
    assert spec.annotations["io.kubernetes.container.restartCount"] == "2"
    assert spec.annotations["io.kubernetes.container.terminationMessagePath"] == "/dev/termination-log"
    assert spec.annotations["io.kubernetes.container.preStopHandler"] == '{"sleep":{"seconds":1}}'
    assert spec.log_path == "c/2.log"


def test_a_sandbox() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081, "protocol": "UDP"}]
    pod = view(
        containers=[{"name": "c", "ports": ports}], securityContext={"sysctls": [{"name": "net/x", "value": "1"}]}
    )
    spec = specs.sandbox_spec(pod, 1, OPTIONS, Dns(), "/kubepods/u", Resources())
    assert spec.port_mappings == (PortMapping("UDP", 81, 8081),)
    assert spec.sysctls == {"net.x": "1"}
    assert spec.log_directory == "/var/log/pods/default_web_u"
    assert spec.labels["app"] == "web"
    on_host = specs.sandbox_spec(view(hostNetwork=True), 0, OPTIONS, Dns(), "", Resources())
    assert (on_host.hostname, on_host.port_mappings) == ("", ())


def test_what_this_node_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="user namespaces"):
        specs.sandbox_spec(view(hostUsers=False), 0, OPTIONS, Dns(), "", Resources())


def test_namespaces() -> None:
    assert namespaces(view()).pid is NamespaceMode.CONTAINER
    assert namespaces(view(shareProcessNamespace=True)).pid is NamespaceMode.POD
    assert namespaces(view(hostPID=True)).pid is NamespaceMode.NODE
    assert namespaces(view(hostIPC=True)).ipc is NamespaceMode.NODE
    assert namespaces(view(), "target").target_id == "target"
    assert namespaces(view(hostPID=True), "target").target_id == ""


def test_a_containers_context_goes_before_its_pods() -> None:
    pod = view(securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]})
    security = secured(pod, {"runAsUser": 0})
    assert (security.run_as_user, security.run_as_group, security.supplemental_groups) == (0, 2, (3, 4))


def test_the_images_user_holds_where_none_is_asked_for() -> None:
    assert secured(view(), image=Image("i", uid=7)).run_as_user == 7
    named = secured(view(), image=Image("i", username="web"))
    assert (named.run_as_user, named.run_as_username) == (None, "web")
    assert secured(view()).run_as_user == 0


@pytest.mark.parametrize(
    ("context", "image", "message"),
    [
        ({"runAsUser": 0}, ROOT, "container's runAsUser breaks non-root policy"),
        ({}, ROOT, "container has runAsNonRoot and image will run as root"),
        ({}, Image("i", uid=0), "container has runAsNonRoot and image will run as root"),
        ({}, Image("i", username="web"), "image has non-numeric user \\(web\\)"),
    ],
)
def test_root_is_refused_to_pods_that_forbid_it(context: dict[str, Any], image: Image, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        secured(view(securityContext={"runAsNonRoot": True}), context, image)


def test_seccomp() -> None:
    assert secured(view()).seccomp.kind is SeccompKind.UNCONFINED
    profile = {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}
    assert secured(view(securityContext=profile)).seccomp.path == "/seccomp/p.json"
    with pytest.raises(ConfigError, match="localhostProfile must be set"):
        secured(view(), {"seccompProfile": {"type": "Localhost"}})
