"""Real containers as a user meets them: what pods are given, how they are watched over, started again and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from tests.e2e import machine
from tests.e2e.cluster import KUBECTL, Cluster, Object, until
from tests.e2e.images import PORT, WEB, WEB_2

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("e2e-real")]

FOREVER = "trap 'exit 0' TERM; sleep 3600 & wait $!"


def container(script: str = FOREVER, name: str = "main", **fields: Any) -> Object:
    return {"name": name, "image": WEB, "command": ["/bin/sh", "-c", script], **fields}


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    metadata = {"name": name, "labels": {"app": name}, "annotations": {"note": "a b"}}
    spec = {"terminationGracePeriodSeconds": 5, "containers": list(containers) or [container()], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


class Pods:
    """The pods of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def start(self, *objects: Object) -> None:
        """Apply objects and wait until the pods among them are ready."""
        self.cluster.apply(*objects, namespace=self.namespace)
        for obj in objects:
            if obj["kind"] == "Pod":
                self.cluster.wait(f"pod/{obj['metadata']['name']}", "-n", self.namespace, "--for=condition=Ready")

    def finish(self, *objects: Object) -> str:
        """Run the last of the objects, a pod, to its end; what it printed."""
        self.cluster.apply(*objects, namespace=self.namespace)
        name = objects[-1]["metadata"]["name"]
        phase = until(lambda: self.get(name)["status"].get("phase") in ("Succeeded", "Failed"), f"{name} ends")
        assert phase
        return self.logs(name)

    def get(self, name: str) -> Object:
        return self.cluster.get("pod", name, "-n", self.namespace)

    def status(self, name: str, container: str = "main") -> Object:
        statuses = self.get(name)["status"].get("containerStatuses") or ()
        return next((status for status in statuses if status["name"] == container), {})

    def logs(self, *arguments: str, **options: Any) -> str:
        return self.cluster.kubectl("logs", "-n", self.namespace, *arguments, **options)

    def execute(self, name: str, script: str, *flags: str, **options: Any) -> str:
        return self.cluster.kubectl("exec", "-n", self.namespace, name, *flags, "--", "sh", "-c", script, **options)

    def pid(self, name: str, container: str = "main") -> int:
        """The first process of a container on the machine."""
        identity = self.status(name, container)["containerID"].removeprefix("containerd://")
        return machine.containers_pids(self.cluster.directory)[identity]


@pytest.fixture
def pods(real: Cluster, real_namespace: str) -> Pods:
    return Pods(real, real_namespace)


def test_environment(pods: Pods) -> None:
    def field(path: str) -> Object:
        return {"valueFrom": {"fieldRef": {"fieldPath": path}}}

    variables = [
        {"name": "PLAIN", "value": "x"},
        {"name": "JOINED", "value": "$(PLAIN)-$(NAME)-$$(PLAIN)-$(NONE)"},
        {"name": "NAME", **field("metadata.name")},
        {"name": "IP", **field("status.podIP")},
        {"name": "NODE", **field("spec.nodeName")},
        {"name": "LABEL", **field("metadata.labels['app']")},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
    ]
    sources = [{"configMapRef": {"name": "c"}, "prefix": "C_"}, {"secretRef": {"name": "s"}}]
    main = container("env", env=variables, envFrom=sources, resources={"limits": {"cpu": "250m"}})
    printed = pods.finish(config_map("c", k="map"), secret("s", k="hidden"), pod("env", main, restartPolicy="Never"))
    values = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    status = pods.get("env")
    assert values["JOINED"] == "x-$(NAME)-$(PLAIN)-$(NONE)"
    assert (values["NAME"], values["LABEL"], values["NODE"]) == ("env", "env", status["spec"]["nodeName"])
    assert values["IP"].startswith("10.244.")
    assert values["CPU"] == "250"
    assert (values["FROM_MAP"], values["FROM_SECRET"], values["C_k"], values["k"]) == ("map", "hidden", "map", "hidden")
    assert "ABSENT" not in values
    assert values["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert values["HOSTNAME"] == "env"


def test_a_missing_config_map_keeps_a_pod_waiting_until_it_is_there(pods: Pods) -> None:
    variable = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "k"}}}
    pods.cluster.apply(pod("waits", container(env=[variable])), namespace=pods.namespace)

    def reason() -> str:
        return str(pods.status("waits").get("state", {}).get("waiting", {}).get("reason"))

    until(lambda: reason() == "CreateContainerConfigError", "the reason is shown")
    pods.cluster.apply(config_map("later", k="v"), namespace=pods.namespace)
    pods.cluster.wait("pod/waits", "-n", pods.namespace, "--for=condition=Ready")


def test_volumes_of_every_type(pods: Pods, real: Cluster) -> None:
    host = real.directory / "host"
    host.mkdir(exist_ok=True)
    host.joinpath("file").write_text("of the host")
    token = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 3600}}
    downward = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    sources = {
        "config": {"configMap": {"name": "c", "items": [{"key": "a", "path": "deep/a", "mode": 0o400}]}},
        "secret": {"secret": {"secretName": "s", "defaultMode": 0o440}},
        "downward": {"downwardAPI": downward},
        "projected": {"projected": {"sources": [{"configMap": {"name": "c"}}, {"downwardAPI": downward}, token]}},
        "empty": {"emptyDir": {}},
        "memory": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        "host": {"hostPath": {"path": str(host), "type": "Directory"}},
    }
    mounts = [{"name": name, "mountPath": f"/v/{name}"} for name in sources]
    mounts.append({"name": "config", "mountPath": "/etc/one", "subPath": "deep/a"})
    mounts.append({"name": "empty", "mountPath": "/read-only", "readOnly": True})
    script = (
        "set -e; cd /v; cat config/deep/a /etc/one secret/p downward/labels projected/a projected/labels host/file; "
        "test -s projected/token; test -s /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; "
        "stat -Lc %a config/deep/a secret/p; echo shared > empty/f; cat /read-only/f; "
        "touch /read-only/g 2>/dev/null && echo writable; touch /v/config/x 2>/dev/null && echo writable; "
        "echo m > memory/f; stat -f -c %T memory; echo back > host/written; " + FOREVER
    )
    volumes = [{"name": name, **source} for name, source in sources.items()]
    main = container(script.replace("set -e; ", "", 1), volumeMounts=mounts)
    pods.start(config_map("c", a="A\n"), secret("s", p="P\n"), pod("volumes", main, volumes=volumes))
    until(lambda: host.joinpath("written").exists(), "the script has run")
    assert pods.logs("volumes").split() == [
        *("A", "A", "P", 'app="volumes"A', 'app="volumes"of', "the", "host400", "440", "shared", "tmpfs")
    ]
    pods.cluster.apply(config_map("c", a="changed\n"), namespace=pods.namespace)
    pods.cluster.kubectl("delete", "pod", "volumes", "-n", pods.namespace, "--timeout=30s")
    assert host.joinpath("file").read_text() == "of the host"


def test_init_and_sidecar_containers_run_in_order(pods: Pods) -> None:
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/s"}]}
    sidecar = container("echo sidecar >> /s/order; " + FOREVER, "side", restartPolicy="Always", **mount)
    first = container("echo first >> /s/order", "first", **mount)
    last = container("echo last >> /s/order", "last", **mount)
    main = container("echo main >> /s/order; cat /s/order", **mount)
    spec = {"initContainers": [first, sidecar, last], "volumes": [{"name": "shared", "emptyDir": {}}]}
    assert pods.finish(pod("ordered", main, restartPolicy="Never", **spec)).split() == [
        "first",
        "sidecar",
        "last",
        "main",
    ]
    assert pods.get("ordered")["status"]["phase"] == "Succeeded"


def test_a_failing_init_container_holds_the_pod(pods: Pods) -> None:
    pods.cluster.apply(
        pod("held", initContainers=[container("exit 3", "first")], restartPolicy="Never"), namespace=pods.namespace
    )
    until(lambda: pods.get("held")["status"]["phase"] == "Failed", "the pod fails")
    assert pods.get("held")["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_a_killed_container_is_started_again(pods: Pods) -> None:
    pods.start(pod("killed", container("echo once more; " + FOREVER)))
    address = pods.get("killed")["status"]["podIP"]
    os.kill(pods.pid("killed"), signal.SIGKILL)
    until(lambda: pods.status("killed")["restartCount"] == 1 and pods.status("killed")["ready"], "it runs again")
    assert pods.status("killed")["lastState"]["terminated"]["exitCode"] == 137
    assert pods.get("killed")["status"]["podIP"] == address
    os.kill(pods.pid("killed"), signal.SIGKILL)
    until(
        lambda: pods.status("killed")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff",
        "the second restart waits",
    )
    assert "once more" in pods.logs("killed", "-p")
    until(lambda: "BackOff" in pods.cluster.kubectl("events", "-n", pods.namespace, "--for=pod/killed"), "the event")


def test_probes(pods: Pods) -> None:
    def probe(**action: Any) -> Object:
        return {**action, "periodSeconds": 1, "failureThreshold": 1}

    ready = {"name": "main", "image": WEB, "readinessProbe": probe(httpGet={"path": "/healthy", "port": PORT})}
    port = {"name": "main", "image": WEB, "startupProbe": {**probe(tcpSocket={"port": PORT}), "failureThreshold": 20}}
    pods.start(pod("ready", ready), pod("port", port))
    pods.execute("ready", "rm /www/healthy")
    pods.cluster.wait("pod/ready", "-n", pods.namespace, "--for=condition=Ready=False")
    assert pods.status("ready")["restartCount"] == 0
    pods.execute("ready", "touch /www/healthy")
    pods.cluster.wait("pod/ready", "-n", pods.namespace, "--for=condition=Ready")
    alive = container("touch /tmp/alive; " + FOREVER, livenessProbe=probe(exec={"command": ["cat", "/tmp/alive"]}))
    pods.start(pod("alive", alive, terminationGracePeriodSeconds=1))
    pods.execute("alive", "rm /tmp/alive")
    until(lambda: pods.status("alive")["restartCount"] == 1, "it is started again")
    assert "Unhealthy" in pods.cluster.kubectl("describe", "pod", "alive", "-n", pods.namespace)


def test_termination_is_graceful_and_bounded(pods: Pods, real: Cluster) -> None:
    host = real.directory / "ended"
    host.mkdir(exist_ok=True)
    volume = {"volumes": [{"name": "host", "hostPath": {"path": str(host)}}]}
    mount = {"volumeMounts": [{"name": "host", "mountPath": "/host"}]}
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /host/order"]}}}
    polite = container("trap 'echo term >> /host/order; exit 0' TERM; sleep 3600 & wait $!", lifecycle=hook, **mount)
    deaf = container("trap '' TERM; while :; do sleep 1; done")
    pods.start(pod("polite", polite, **volume), pod("deaf", deaf, terminationGracePeriodSeconds=1))
    pods.cluster.kubectl("delete", "pod", "polite", "deaf", "-n", pods.namespace, "--timeout=20s")
    assert host.joinpath("order").read_text().split() == ["hook", "term"]


def test_a_replica_that_is_deleted_is_replaced_at_a_new_address(pods: Pods) -> None:
    kubectl = pods.cluster.kubectl
    kubectl("create", "deployment", "web", f"--image={WEB}", "--replicas=2", "-n", pods.namespace)
    kubectl("rollout", "status", "deployment", "web", "-n", pods.namespace, "--timeout=60s")

    def running() -> dict[str, str]:
        items = pods.cluster.get("pods", "-l", "app=web", "-n", pods.namespace)["items"]
        return {
            item["metadata"]["name"]: item["status"].get("podIP", "")
            for item in items
            if item["status"]["phase"] == "Running" and "deletionTimestamp" not in item["metadata"]
        }

    before = running()
    gone = min(before)
    kubectl("delete", "pod", gone, "-n", pods.namespace, "--wait=false")
    until(lambda: len(running()) == 2 and gone not in running(), "another takes its place")
    assert len(set(running().values())) == 2
    kubectl("set", "image", "deployment/web", f"web={WEB_2}", "-n", pods.namespace)
    kubectl("rollout", "status", "deployment", "web", "-n", pods.namespace, "--timeout=60s")


def test_logs(pods: Pods) -> None:
    script = "for n in 1 2 3 4 5; do echo line $n; done; echo wrong >&2; " + FOREVER
    pods.start(pod("speaks", container(script), container("echo other; " + FOREVER, "other")))
    written = pods.logs("speaks", "-c", "main").splitlines()
    # The runtime reads the two outputs by themselves, so only the order within each is known.
    assert [line for line in written if line != "wrong"] == [f"line {n}" for n in range(1, 6)]
    assert "wrong" in written
    assert pods.logs("speaks", "-c", "main", "--tail=2").splitlines() == written[-2:]
    assert pods.logs("speaks", "-c", "other", "--timestamps").split()[1] == "other"
    assert "[pod/speaks/other] other" in pods.logs("speaks", "--all-containers", "--prefix")
    assert "previous terminated container" in pods.logs("speaks", "-c", "main", "-p", check=False)
    assert "not valid for pod" in pods.logs("speaks", "-c", "none", check=False)


def test_logs_follow_until_the_container_ends(pods: Pods, real: Cluster) -> None:
    pods.start(
        pod("talks", container("echo begin; until test -e /go; do sleep 0.1; done; echo end"), restartPolicy="Never")
    )
    command = [*real.inside, KUBECTL, "logs", "-f", "talks", "-n", pods.namespace]
    environment = {**os.environ, "KUBECONFIG": str(real.kubeconfig)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline() == "begin\n"
        pods.execute("talks", "touch /go")
        assert follow.stdout.read() == "end\n"
        assert follow.wait(10) == 0


def test_exec(pods: Pods) -> None:
    pods.start(pod("obeys"))
    assert pods.execute("obeys", "echo $((6*7)); pwd") == "42\n/\n"
    assert pods.execute("obeys", "cat", "-i", text="through\n" * 10000) == "through\n" * 10000
    told = pods.cluster.run(
        KUBECTL, "exec", "-n", pods.namespace, "obeys", "--", "sh", "-c", "echo no >&2; exit 7", check=False
    )
    assert (told.status, "no\n" in told.errors) == (7, True)
    assert "not found" in pods.cluster.kubectl("exec", "obeys", "-n", pods.namespace, "--", "nothing", check=False)


def test_a_terminal(pods: Pods, real: Cluster) -> None:
    pods.start(pod("typed"))
    master, slave = os.openpty()
    command = [*real.inside, KUBECTL, "exec", "-it", "typed", "-n", pods.namespace, "--", "sh"]
    environment = {**os.environ, "KUBECONFIG": str(real.kubeconfig), "TERM": "dumb"}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as shell:
        os.close(slave)
        try:
            os.write(master, b"tty; echo $((40 + 2)); exit 5\n")
            received = b""
            while True:
                try:
                    part = os.read(master, 4096)
                except OSError:
                    break
                if not part:
                    break
                received += part
            assert shell.wait(10) == 5
            assert b"\r\n42\r\n" in received
        finally:
            os.close(master)
            shell.kill()


def test_the_kubelet_can_be_inspected(pods: Pods, real: Cluster) -> None:
    pods.start(pod("seen"))

    def read(path: str) -> str:
        return real.run("curl", "-sSf", "-m", "5", f"http://127.0.0.1:10255{path}").output

    assert read("/healthz") == "ok"
    assert "seen" in {item["metadata"]["name"] for item in json.loads(read("/pods"))["items"]}
    assert "# TYPE " in read("/metrics")
    summary = json.loads(read("/stats/summary"))
    assert summary["node"]["nodeName"] == pods.get("seen")["spec"]["nodeName"]
    assert any(found["podRef"]["name"] == "seen" for found in summary["pods"])
    anonymous = real.run(
        "curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:10250/pods"
    )
    assert anonymous.output in ("401", "403")


def test_users_groups_and_capabilities(pods: Pods) -> None:
    security = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000, "runAsNonRoot": True}
    main = container(
        "id -u; id -G; touch /v/f; stat -c %g /v/f; grep CapEff /proc/self/status; touch /x 2>/dev/null || echo read-only",
        securityContext={
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
    )
    spec = {"securityContext": security, "volumes": [{"name": "v", "emptyDir": {}}], "restartPolicy": "Never"}
    lines = pods.finish(pod("user", main, **spec)).splitlines()
    assert lines[0] == "1000"
    assert "2000" in lines[1].split()
    assert lines[2] == "2000"
    assert int(lines[3].split()[1], 16) == 0
    assert lines[4] == "read-only"


def test_an_image_that_is_not_there(pods: Pods) -> None:
    main = {"name": "main", "image": "pilothouse.test/none:1", "imagePullPolicy": "Never"}
    pods.cluster.apply(pod("lacking", main), namespace=pods.namespace)
    until(
        lambda: pods.status("lacking").get("state", {}).get("waiting", {}).get("reason") == "ErrImageNeverPull",
        "the reason is shown",
    )
