"""What a user does with stock kubectl, on simulated nodes: every command of the README's tour that needs no container."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cluster import KUBECTL, Cluster, Object, until

pytestmark = pytest.mark.xdist_group("e2e-simulated")


def pod(name: str, **spec: object) -> Object:
    containers = [{"name": "main", "image": "busybox"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def test_a_deployment_from_its_creation_to_its_end(simulated: Cluster, namespace: str) -> None:
    def kubectl(*arguments: str) -> str:
        return simulated.kubectl(*arguments, "-n", namespace)

    def images() -> set[str]:
        return set(kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}").split())

    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3", "--port=80")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment", "web", "--timeout=30s")
    kubectl("expose", "deployment", "web", "--port", "80", "--target-port=8080")
    table = kubectl("get", "all", "-o", "wide")
    assert all(f"{kind}/web" in table for kind in ("pod", "service", "deployment.apps", "replicaset.apps"))
    slices = simulated.get("endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name=web")["items"]
    assert sum(len(found["endpoints"]) for found in slices) == 3
    kubectl("scale", "deployment", "web", "--replicas=5")
    kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=30s")
    kubectl("set", "image", "deployment/web", "web=web:2")
    kubectl("rollout", "status", "deployment", "web", "--timeout=30s")
    kubectl("wait", "pods", "-l", "app=web", "--for=jsonpath={.spec.containers[0].image}=web:2", "--timeout=30s")
    kubectl("rollout", "undo", "deployment", "web")
    kubectl("rollout", "status", "deployment", "web", "--timeout=30s")
    until(lambda: images() == {"web:1"}, "only pods of the first revision")
    assert [line.split()[0] for line in kubectl("rollout", "history", "deployment", "web").splitlines()[2:4]] == [
        "2",
        "3",
    ]
    described = kubectl("describe", "deployment", "web")
    assert "ScalingReplicaSet" in described
    kubectl("rollout", "restart", "deployment", "web")
    kubectl("rollout", "status", "deployment", "web", "--timeout=30s")
    kubectl("delete", "deployment,service", "web")
    until(lambda: not simulated.get("pods,replicasets", "-n", namespace)["items"], "what it owned is collected")


def test_pods_are_replaced_with_new_names(simulated: Cluster, namespace: str) -> None:
    simulated.kubectl("create", "deployment", "web", "--image=web", "--replicas=2", "-n", namespace)
    simulated.kubectl("rollout", "status", "deployment", "web", "-n", namespace, "--timeout=30s")
    before = {item["metadata"]["name"] for item in simulated.get("pods", "-n", namespace)["items"]}
    gone = min(before)
    simulated.kubectl("delete", "pod", gone, "-n", namespace)

    def ready() -> set[str]:
        items = simulated.get("pods", "-n", namespace)["items"]
        return {item["metadata"]["name"] for item in items if item["status"]["phase"] == "Running"}

    until(lambda: len(ready()) == 2, "two pods run")
    assert ready() - before
    assert gone not in ready()


def test_describe_shows_events(simulated: Cluster, namespace: str) -> None:
    simulated.apply(pod("seen"), namespace=namespace)
    simulated.wait("pod/seen", "-n", namespace, "--for=condition=Ready")
    until(lambda: "Started" in simulated.kubectl("events", "-n", namespace, "--for=pod/seen"), "the events arrive")
    described = simulated.kubectl("describe", "pod", "seen", "-n", namespace)
    events = {line.split()[1] for line in described[described.index("Events:") :].splitlines()[3:] if line.strip()}
    assert events >= {"Scheduled", "Pulled", "Created", "Started"}


def test_a_pod_that_fits_nowhere_waits_and_says_why(simulated: Cluster, namespace: str) -> None:
    simulated.apply(pod("lonely", nodeSelector={"disk": "none"}), namespace=namespace)
    simulated.wait("pod/lonely", "-n", namespace, "--for=condition=PodScheduled=False")
    assert "0/3 nodes are available" in until(
        lambda: simulated.path(
            "pod", "lonely", "-n", namespace, of='.status.conditions[?(@.type=="PodScheduled")].message'
        ),
        "the message",
    )
    simulated.kubectl("label", "node", "simulated-1", "disk=none")
    try:
        simulated.wait("pod/lonely", "-n", namespace, "--for=condition=Ready")
        assert simulated.path("pod", "lonely", "-n", namespace, of=".spec.nodeName") == "simulated-1"
    finally:
        simulated.kubectl("label", "node", "simulated-1", "disk-")


def test_apply_edit_patch_label_annotate(simulated: Cluster, namespace: str, tmp_path: Path) -> None:
    def kubectl(*arguments: str, **options: object) -> str:
        return simulated.kubectl(*arguments, "-n", namespace, **options)  # type: ignore[arg-type]

    def data() -> Object:
        value: Object = simulated.get("configmap", "c", "-n", namespace).get("data", {})
        return value

    manifest = tmp_path / "c.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '2'}\n")
    assert "created" in kubectl("apply", "-f", str(manifest))
    assert "unchanged" in kubectl("apply", "-f", str(manifest))
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '3'}\n")
    assert '+  a: "3"' in simulated.kubectl("diff", "-n", namespace, "-f", str(manifest), check=False)
    assert "configured" in kubectl("apply", "-f", str(manifest))
    assert data() == {"a": "3"}
    kubectl("edit", "configmap", "c", environment={"KUBE_EDITOR": 'sed -i \'s/a: "3"/a: "4"/\''})
    assert data() == {"a": "4"}
    kubectl("patch", "configmap", "c", "--type=merge", "-p", '{"data":{"a":null,"m":"1"}}')
    kubectl("patch", "configmap", "c", "--type=json", "-p", '[{"op":"add","path":"/data/j","value":"1"}]')
    kubectl("patch", "configmap", "c", "--type=strategic", "-p", '{"data":{"s":"1"}}')
    assert data() == {"m": "1", "j": "1", "s": "1"}
    refused = kubectl(
        "patch", "configmap", "c", "--type=json", "-p", '[{"op":"test","path":"/data/j","value":"2"}]', check=False
    )
    assert "The request is invalid" in refused
    kubectl("label", "configmap", "c", "tier=x")
    assert "already has a value" in kubectl("label", "configmap", "c", "tier=y", check=False)
    kubectl("label", "configmap", "c", "tier=y", "--overwrite")
    kubectl("annotate", "configmap", "c", "note=n")
    assert "configmap/c" in kubectl("get", "configmap", "-l", "tier in (y,z),!none", "-o", "name")
    kubectl("delete", "-f", str(manifest))
    assert "NotFound" in kubectl("get", "configmap", "c", check=False)


def test_a_strategic_patch_merges_lists_by_their_keys(simulated: Cluster, namespace: str) -> None:
    simulated.kubectl("create", "deployment", "d", "--image=a", "-n", namespace)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "b"}]}}}}
    simulated.kubectl("patch", "deployment", "d", "-n", namespace, "-p", json.dumps(patch))
    names = simulated.path("deployment", "d", "-n", namespace, of=".spec.template.spec.containers[*].name")
    assert set(names.split()) == {"a", "side"}


def test_unknown_fields_and_invalid_objects_are_told(simulated: Cluster, namespace: str) -> None:
    wrong = json.dumps({**pod("x"), "spec": {"containers": [{"name": "a", "image": "b", "colour": "red"}]}})
    told = simulated.kubectl("apply", "-n", namespace, "-f", "-", text=wrong, check=False)
    assert 'unknown field "spec.containers[0].colour"' in told
    told = simulated.kubectl("create", "deployment", "Wrong_Name", "--image=a", "-n", namespace, check=False)
    assert 'Deployment.apps "Wrong_Name" is invalid' in told or 'The Deployment "Wrong_Name" is invalid' in told


def test_what_the_server_can_do_is_explained(simulated: Cluster) -> None:
    assert "FIELDS:" in simulated.kubectl("explain", "pod.spec")
    assert "<string>" in simulated.kubectl("explain", "deployment.spec.template.spec.containers.image")
    resources = {line.split()[0] for line in simulated.kubectl("api-resources", "--no-headers").splitlines()}
    assert {"pods", "deployments", "services", "jobs", "ingresses", "roles", "leases", "events"} <= resources
    assert {"v1", "apps/v1", "batch/v1"} <= set(simulated.kubectl("api-versions").split())
    assert "*.*" in simulated.kubectl("auth", "can-i", "--list")
    assert simulated.kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert simulated.kubectl("auth", "can-i", "create", "pods", "--as=nobody", check=False).startswith("no")
    assert "kubernetes-admin" in simulated.kubectl("auth", "whoami")
    assert "Server Version: v1.36" in simulated.kubectl("version", check=False)


def test_roles_give_rights(simulated: Cluster, namespace: str) -> None:
    simulated.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    simulated.kubectl("create", "role", "read", "--verb=get,list", "--resource=configmaps", "-n", namespace)
    simulated.kubectl(
        "create", "rolebinding", "r", "--role=read", f"--serviceaccount={namespace}:reader", "-n", namespace
    )
    token = simulated.kubectl("create", "token", "reader", "-n", namespace).strip()
    headers = {"authorization": f"Bearer {token}"}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    until(lambda: simulated.request("GET", path, headers=headers, as_admin=False).status == 200, "the binding counts")
    assert simulated.request("GET", "/api/v1/configmaps", headers=headers, as_admin=False).status == 403
    assert simulated.request("DELETE", f"{path}/a", headers=headers, as_admin=False).status == 403
    simulated.kubectl("delete", "serviceaccount", "reader", "-n", namespace)
    until(
        lambda: simulated.request("GET", path, headers=headers, as_admin=False).status == 401,
        "the token of a deleted account is refused",
        40,
    )


@pytest.mark.parametrize("kind", ["deployments", "pods"])
def test_a_watch_shows_changes_as_they_happen(simulated: Cluster, namespace: str, kind: str) -> None:
    simulated.kubectl("version", check=False)
    environment = {**os.environ, "KUBECONFIG": str(simulated.kubeconfig)}
    command = [KUBECTL, "get", kind, "-A", "-w", "--no-headers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watch:
        try:
            assert watch.stdout is not None
            simulated.kubectl("create", "deployment", "w", "--image=a", "-n", namespace)
            until_ready = (line.split() for line in watch.stdout if line.startswith(f"{namespace} "))
            assert next(columns for columns in until_ready if columns[2] == "1/1")[1].startswith("w")
        finally:
            watch.kill()


def test_generated_names_and_server_tables(simulated: Cluster, namespace: str) -> None:
    generated = {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "g-"}, "stringData": {"a": "b"}}
    name = simulated.kubectl("create", "-n", namespace, "-f", "-", "-o", "name", text=json.dumps(generated)).strip()
    assert name.startswith("secret/g-")
    assert simulated.path(name, "-n", namespace, of=".data.a") == "Yg=="
    assert simulated.kubectl("get", name, "-n", namespace).split()[:4] == ["NAME", "TYPE", "DATA", "AGE"]


@pytest.mark.parametrize("propagation", ["background", "foreground", "orphan"])
def test_garbage(simulated: Cluster, namespace: str, propagation: str) -> None:
    simulated.kubectl("create", "deployment", "d", "--image=a", "--replicas=2", "-n", namespace)
    simulated.kubectl("rollout", "status", "deployment", "d", "-n", namespace, "--timeout=30s")
    simulated.kubectl("delete", "deployment", "d", "-n", namespace, f"--cascade={propagation}", "--timeout=30s")
    if propagation == "orphan":
        [orphan] = simulated.get("replicasets", "-n", namespace)["items"]
        assert not orphan["metadata"].get("ownerReferences")
        assert len(simulated.get("pods", "-n", namespace)["items"]) == 2
        simulated.kubectl("delete", "replicaset", "--all", "-n", namespace)
    elif propagation == "foreground":
        assert simulated.get("replicasets", "-n", namespace)["items"] == []
    until(lambda: not simulated.get("pods,replicasets", "-n", namespace)["items"], "nothing is left")


def test_a_namespace_goes_with_all_that_is_in_it(simulated: Cluster) -> None:
    simulated.kubectl("create", "namespace", "going")
    simulated.wait("--for=create", "serviceaccount/default", "-n", "going")
    simulated.kubectl("create", "configmap", "kept", "-n", "going")
    simulated.kubectl("annotate", "configmap", "kept", "a=b", "-n", "going")
    simulated.kubectl(
        "patch", "configmap", "kept", "-n", "going", "-p", '{"metadata":{"finalizers":["example.org/hold"]}}'
    )
    simulated.kubectl("create", "deployment", "web", "--image=a", "-n", "going")
    simulated.kubectl("delete", "namespace", "going", "--wait=false")
    until(lambda: not simulated.get("deployments,pods", "-n", "going")["items"], "pods are deleted")
    told = simulated.kubectl("create", "configmap", "late", "-n", "going", check=False)
    assert "being terminated" in told
    assert simulated.path("namespace", "going", of=".status.phase") == "Terminating"
    simulated.kubectl("patch", "configmap", "kept", "-n", "going", "-p", '{"metadata":{"finalizers":null}}')
    simulated.wait("namespace/going", "--for=delete")
