"""An operator by kopf: handlers, retries, finalizers, status, events, timers and daemons, peering, and its admission webhook."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Authority, Certificate, Pki
from tests.e2e.cluster import Cluster, Object, until

pytest.importorskip("kopf", reason="the operator framework `kopf` is not installed")

pytestmark = pytest.mark.xdist_group("e2e-simulated")

HERE = Path(__file__).parent
GROUP = "kopf.example.com"


def definition(group: str, kind: str, plural: str, scope: str) -> Object:
    open_ = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": open_, "status": open_}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "names": {"kind": kind, "plural": plural}, "scope": scope, "versions": [version]},
    }


@contextmanager
def operator(cluster: Cluster, namespace: str, module: str) -> Iterator[Path]:
    log = cluster.directory / f"{module}-{namespace}.log"
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(HERE / f"{module}.py")]
    pki = Pki(cluster.directory / f"hook-{namespace}", SystemClock())
    pki.ensure([Authority("ca", "hooks"), Certificate("hook", "hook", usages=("server",), ip_addresses=("127.0.0.1",))])
    variables = {"KUBECONFIG": str(cluster.kubeconfig), "CERTIFICATES": str(pki.certificate_path("ca").parent)}
    environment = {**os.environ, **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)
        for kind in ("validating", "mutating"):
            cluster.kubectl("delete", f"{kind}webhookconfigurations", "operator.kopf.example.com", "--ignore-not-found")


@pytest.fixture(scope="module")
def lamps(simulated: Cluster) -> Iterator[None]:
    simulated.apply(definition(GROUP, "Lamp", "lamps", "Namespaced"))
    simulated.wait("crd/lamps.kopf.example.com", "--for=condition=Established")
    yield
    simulated.kubectl("delete", "crd", "lamps.kopf.example.com", "--wait=false")


def hooks(cluster: Cluster) -> int:
    kinds = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
    return sum(
        len(item.get("webhooks", ()))
        for kind in kinds
        for item in cluster.get(kind)["items"]
        if item["metadata"]["name"] == "operator.kopf.example.com"
    )


def lamp(**spec: object) -> Object:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Lamp", "metadata": {"name": "desk"}, "spec": spec}


@pytest.mark.usefixtures("lamps")
def test_an_object_from_its_creation_to_its_deletion(simulated: Cluster, namespace: str) -> None:
    def status() -> Object:
        found: Object = simulated.get("lamp", "desk", "-n", namespace).get("status", {})
        return found

    with operator(simulated, namespace, "operator_under_test") as log:
        until(lambda: hooks(simulated) == 2, "the operator's webhooks")
        simulated.apply(lamp(watts=5), namespace=namespace)
        assert simulated.path("lamp", "desk", "-n", namespace, of=".spec.colour") == "white"
        until(lambda: status().get("created"), f"the handler's result; {log}")
        assert status()["created"] == {"for": f"{namespace}/desk", "watts": "5"}
        until(lambda: status().get("lit") and status().get("ticks", 0) > 1, "the timer ticks")
        assert simulated.get("lamp", "desk", "-n", namespace)["metadata"]["finalizers"] == ["kopf.example.com/guard"]
        patch = ("patch", "lamp", "desk", "-n", namespace, "--type=merge", "-p")
        assert "denied the request: too bright" in simulated.kubectl(*patch, '{"spec":{"watts":101}}', check=False)
        assert "Warning: rather bright" in simulated.kubectl(
            *patch, '{"spec":{"watts":51}}', "--dry-run=server", check=False
        )
        simulated.apply(lamp(watts=7), namespace=namespace)
        until(lambda: status().get("change") == "5 to 7", "the change of a field")
        simulated.kubectl("create", "configmap", "paint", "--from-literal=colour=red", "-n", namespace)
        simulated.kubectl("label", "configmap", "paint", "kopf=yes", "-n", namespace)
        until(lambda: simulated.path("cm", "paint", "-n", namespace, of=".metadata.annotations.seen") == "red", "seen")
        simulated.kubectl("delete", "lamp", "desk", "-n", namespace, "--timeout=30s")
        for reason in ("Guarded", "Dimmed"):
            until(
                lambda reason=reason: reason in simulated.kubectl("get", "events", "-n", namespace), f"event {reason}"
            )
    text = log.read_text()
    assert "once more" in text
    assert "Traceback" not in text
