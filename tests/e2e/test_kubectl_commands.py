"""The commands of kubectl that `test_kubectl` leaves: pruning, kustomizations, ways to read, nodes, debugging, a proxy."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.cluster import KUBECTL, Cluster, Object, until

pytestmark = pytest.mark.xdist_group("e2e-simulated")

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(simulated: Cluster, namespace: str) -> Kubectl:
    """In the test's namespace."""

    def run(*arguments: str, text: str = "", check: bool = True) -> str:
        return simulated.kubectl("-n", namespace, *arguments, text=text, check=check)

    return run


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


def test_pruning_removes_what_is_not_applied_any_more(kubectl: Kubectl, namespace: str) -> None:
    def apply(*names: str, arguments: tuple[str, ...]) -> str:
        items = [config_map(name, {"app": namespace}) for name in names]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        return kubectl("apply", "-f", "-", "--prune", *arguments, text=text)

    by_label = ("-l", f"app={namespace}", "--prune-allowlist=core/v1/ConfigMap")
    apply("a", "b", arguments=by_label)
    assert "configmap/a pruned" in apply("b", arguments=by_label)
    assert set(kubectl("get", "cm", "-l", f"app={namespace}", "-o", "name").split()) == {"configmap/b"}


def test_a_set_of_applied_objects_is_kept_by_its_parent(simulated: Cluster, kubectl: Kubectl, namespace: str) -> None:
    def apply(*names: str) -> str:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [config_map(name) for name in names]})
        result = simulated.run(
            KUBECTL, "apply", "-n", namespace, "--prune", "--applyset=secret/set", "-f", "-", text=text,
            environment={"KUBECTL_APPLYSET": "true"},
        )  # fmt: skip
        return result.output

    apply("a", "b")
    assert kubectl("get", "secret", "set", "-o", r"jsonpath={.metadata.labels.applyset\.kubernetes\.io/id}")
    assert "configmap/a pruned" in apply("b")


def test_a_kustomization(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(
        "namePrefix: my-\nlabels: [{pairs: {app: web}}]\nresources: [d.yaml]\n"
        "configMapGenerator: [{name: settings, literals: [a=b]}]\n"
        "images: [{name: web, newTag: '2'}]\n"
    )
    manifest = kubectl("create", "deployment", "web", "--image=web:1", "--dry-run=client", "-o", "yaml")
    (tmp_path / "d.yaml").write_text(manifest)
    assert "my-settings-" in kubectl("kustomize", str(tmp_path))
    kubectl("apply", "-k", str(tmp_path))
    assert kubectl("get", "deployment", "my-web", "-o", "jsonpath={..image}") == "web:2"
    assert kubectl("diff", "-k", str(tmp_path)) == ""
    kubectl("delete", "-k", str(tmp_path))


def test_ways_to_read(kubectl: Kubectl) -> None:
    for name in ("c", "a", "b"):
        kubectl("create", "configmap", name, f"--from-literal=key={name * 2}")
    kubectl("label", "configmap", "a", "b", "tier=x")
    select = ("get", "configmaps", "--field-selector=metadata.name!=kube-root-ca.crt", "--no-headers")
    assert [line.split()[0] for line in kubectl(*select, "--chunk-size=1").splitlines()] == ["a", "b", "c"]
    columns = "-o=custom-columns=N:.metadata.name,K:.data.key"
    assert kubectl(*select, columns, "--sort-by=.data.key").split() == ["a", "aa", "b", "bb", "c", "cc"]
    assert [line.split()[-1] for line in kubectl(*select, "-L", "tier").splitlines()][:2] == ["x", "x"]
    assert "tier=x" in kubectl(*select, "--show-labels")
    assert kubectl("get", "cm", "-l", "tier", "-o", "jsonpath={range .items[*]}{.data.key},{end}") == "aa,bb,"
    assert kubectl("get", "cm", "-l", "tier", "-o", "go-template={{range .items}}{{.data.key}} {{end}}") == "aa bb "
    assert kubectl("get", "cm/a", "cm/b", "-o", "name").split() == ["configmap/a", "configmap/b"]
    raw = json.loads(kubectl("get", "--raw", "/api/v1/nodes?limit=1"))
    assert (len(raw["items"]), raw["metadata"]["remainingItemCount"]) == (1, 2)
    managers = kubectl("get", "cm", "a", "-o", "yaml", "--show-managed-fields")
    assert "manager: kubectl-create" in managers
    assert "manager: kubectl-label" in managers
    kubectl("delete", "cm", "-l", "tier")
    assert "c" in kubectl(*select)


def test_a_watch_tells_the_kind_of_each_event(simulated: Cluster, kubectl: Kubectl, namespace: str) -> None:
    command = [KUBECTL, "get", "cm", "-n", namespace, "-l", "seen", "-w", "--output-watch-events", "--no-headers"]
    environment = {**os.environ, "KUBECONFIG": str(simulated.kubeconfig)}
    kubectl("create", "configmap", "first")
    kubectl("label", "configmap", "first", "seen=1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watch:
        try:
            assert watch.stdout is not None
            assert watch.stdout.readline().split()[:2] == ["ADDED", "first"]
            kubectl("annotate", "configmap", "first", "a=b")
            assert watch.stdout.readline().split()[:2] == ["MODIFIED", "first"]
            kubectl("label", "configmap", "first", "seen-")
            assert watch.stdout.readline().split()[:2] == ["DELETED", "first"]
        finally:
            watch.kill()


def test_explain_goes_all_the_way_down(simulated: Cluster) -> None:
    recursive = simulated.kubectl("explain", "deployment", "--recursive")
    assert recursive.count("\n") > 1000
    assert "          ephemeral\t<EphemeralVolumeSource>" in recursive
    assert "VERSION:    v2" in simulated.kubectl("explain", "hpa", "--api-version=autoscaling/v2")
    assert "ENUM:\n    Always\n    Never\n    OnFailure\n" in simulated.kubectl("explain", "pod.spec.restartPolicy")
    assert "does not exist" in simulated.kubectl("explain", "pod.spec.nothing", check=False)


def test_what_create_run_set_and_autoscale_make(kubectl: Kubectl) -> None:
    kubectl("run", "once", "--image=busybox", "--restart=Never", "--env=A=b", "--labels=x=y", "--port=80", "--expose")
    assert kubectl("get", "service", "once", "-o", "jsonpath={.spec.selector.x}") == "y"
    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2", "--", "serve", "--all")
    kubectl("set", "env", "deployment/web", "A=1", "B-")
    kubectl("set", "resources", "deployment", "web", "--requests=cpu=10m", "--limits=memory=64Mi")
    kubectl("set", "serviceaccount", "deployment", "web", "default")
    kubectl("set", "image", "deployment/web", "*=web:2")
    spec = json.loads(kubectl("get", "deployment", "web", "-o", "json"))["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (container["image"], container["env"], container["command"]) == (
        "web:2",
        [{"name": "A", "value": "1"}],
        ["serve", "--all"],
    )
    assert container["resources"] == {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu-percent=50")
    assert kubectl("get", "hpa", "web", "-o", "jsonpath={.spec.metrics[0].resource.target.averageUtilization}") == "50"
    kubectl("create", "cronjob", "tick", "--image=tick", "--schedule=0 0 1 1 *")
    kubectl("create", "job", "now", "--from=cronjob/tick")
    assert kubectl("get", "job", "now", "-o", "jsonpath={.metadata.ownerReferences[0].name}") == "tick"
    for made in (
        ("ingress", "i", "--rule=a.example/x=web:80"),
        ("poddisruptionbudget", "p", "--selector=a=b", "--min-available=1"),
        ("priorityclass", "urgent", "--value=7", "--dry-run=server"),
        ("secret", "docker-registry", "d", "--docker-server=s", "--docker-username=u", "--docker-password=p"),
        ("service", "externalname", "outside", "--external-name=example.org"),
        ("service", "nodeport", "np", "--tcp=80:8080"),
        ("quota", "q", "--hard=pods=50", "--scopes=NotTerminating"),
    ):
        kubectl("create", *made)
    told = kubectl("replace", "-f", "-", text=json.dumps(config_map("none")), check=False)
    assert 'configmaps "none" not found' in told
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    uid = kubectl("get", "cm", "c", "-o", "jsonpath={.metadata.uid}")
    kubectl("replace", "-f", "-", text=json.dumps(config_map("c", a="2")))
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.metadata.uid} {.data.a}") == f"{uid} 2"
    kubectl("replace", "--force", "-f", "-", text=json.dumps(config_map("c", a="3")))
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.metadata.uid}") != uid


def test_rights_are_reconciled(kubectl: Kubectl, namespace: str) -> None:
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    metadata = {"name": "r", "namespace": namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    kubectl("auth", "reconcile", "-f", "-", text=json.dumps(role))
    more = {**role, "rules": [{**rule, "verbs": ["list"]}]}
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", text=json.dumps(more))
    rules = json.loads(kubectl("get", "role", "r", "-o", "json"))["rules"]
    assert {verb for each in rules for verb in each["verbs"]} == {"get", "list"}
    listed = kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:{namespace}:default")
    assert "selfsubjectreviews.authentication.k8s.io" in listed


def test_a_node_is_cordoned_tainted_and_drained(simulated: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "deployment", "web", "--image=web", "--replicas=6")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    node = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}")
    # Other tests' pods may be there, too.
    only = ("--pod-selector=app=web", "--force", "--timeout=30s", "--disable-eviction=false")
    try:
        told = simulated.kubectl("drain", node, *only)
        assert f"evicting pod {namespace}/web-" in told
        assert "SchedulingDisabled" in simulated.kubectl("get", "node", node)
        kubectl("rollout", "status", "deployment/web", "--timeout=30s")
        assert node not in kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={..nodeName}").split()
        simulated.kubectl("taint", "node", node, "test=yes:NoSchedule")
        taints = simulated.get("node", node)["spec"]["taints"]
        assert {"key": "test", "value": "yes", "effect": "NoSchedule"} in taints
        simulated.kubectl("taint", "node", node, "test:NoSchedule-")
    finally:
        simulated.kubectl("uncordon", node)
    assert "SchedulingDisabled" not in simulated.kubectl("get", "node", node)


def test_debug_containers_and_copies_of_pods(simulated: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubectl("run", "p", "--image=app")
    kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    kubectl("debug", "p", "--image=tools", "--target=p", "-c", "look", "--profile=general", "--attach=false")
    ephemeral = json.loads(kubectl("get", "pod", "p", "-o", "json"))["spec"]["ephemeralContainers"]
    assert [(each["name"], each["targetContainerName"]) for each in ephemeral] == [("look", "p")]
    kubectl("debug", "p", "--copy-to=copy", "--set-image=*=other", "--attach=false")
    assert kubectl("get", "pod", "copy", "-o", "jsonpath={..containers[0].image}") == "other"
    told = kubectl("debug", "node/simulated-0", "--image=tools", "--profile=sysadmin", "--attach=false")
    name = next(word for word in told.split() if word.startswith("node-debugger-simulated-0-"))
    spec = json.loads(kubectl("get", "pod", name, "-o", "json"))["spec"]
    assert (spec["nodeName"], spec["hostPID"], spec["volumes"][0]["hostPath"]["path"]) == ("simulated-0", True, "/")


def test_events_by_object_and_type(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=app", "--overrides", '{"spec":{"nodeSelector":{"none":"such"}}}')
    until(lambda: "FailedScheduling" in kubectl("events", "--for", "pod/p", "--types=Warning"), "the event")
    assert "No events found" in kubectl("events", "--for", "pod/other", check=False)
    told = json.loads(kubectl("get", "events", "--field-selector=involvedObject.name=p", "-o", "json"))["items"]
    assert {each["reason"] for each in told} == {"FailedScheduling"}
    assert told[0]["reportingComponent"] == "default-scheduler"


def test_what_is_not_there_is_told(simulated: Cluster, kubectl: Kubectl) -> None:
    for kind in ("nodes", "pods"):
        assert "Metrics API not available" in simulated.kubectl("top", kind, check=False)
    assert "is running at" in simulated.kubectl("cluster-info")
    assert '"kind": "NodeList"' in simulated.kubectl("cluster-info", "dump")
    assert "the server doesn't have a resource type" in kubectl("get", "nonsense", check=False)
    assert "NotFound" in kubectl("logs", "nobody", check=False)
    view = simulated.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    assert view == f"https://127.0.0.1:{simulated.port}"


def test_a_certificate_is_denied(simulated: Cluster, tmp_path: Path) -> None:
    key, request = tmp_path / "key", tmp_path / "csr"
    make = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(request)]
    simulated.run(*make, "-subj", "/CN=mallory")
    encoded = simulated.run("base64", "-w0", str(request)).output
    spec = {"request": encoded, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    simulated.apply({**kind, "metadata": {"name": "mallory"}, "spec": spec})
    simulated.kubectl("certificate", "deny", "mallory")
    assert "Denied" in simulated.kubectl("get", "csr", "mallory")
    assert not simulated.path("csr", "mallory", of=".status.certificate")
    simulated.kubectl("delete", "csr", "mallory")


@contextmanager
def proxy(cluster: Cluster, *arguments: str) -> Iterator[str]:
    """The URL of a `kubectl proxy`."""
    command = [KUBECTL, "proxy", "--port=0", *arguments]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield f"http://{process.stdout.readline().split()[-1]}"
        finally:
            process.kill()


def test_a_proxy_passes_on_what_it_may(simulated: Cluster, namespace: str) -> None:
    with proxy(simulated) as url:
        with urllib.request.urlopen(f"{url}/api/v1/namespaces/{namespace}", timeout=10) as answer:
            assert json.load(answer)["metadata"]["name"] == namespace
        with pytest.raises(urllib.error.HTTPError) as forbidden:
            urllib.request.urlopen(f"{url}/api/v1/namespaces/default/pods/x/exec", timeout=10)
        assert forbidden.value.code == 403
        events = urllib.request.urlopen(
            f"{url}/api/v1/namespaces/{namespace}/serviceaccounts?watch=1&timeoutSeconds=5", timeout=10
        )
        assert json.loads(events.readline())["object"]["metadata"]["name"] == "default"
        events.close()
