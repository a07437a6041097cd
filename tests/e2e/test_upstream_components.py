"""Upstream's kube-controller-manager and kube-scheduler as they are, beside our API server: they find nothing missing.

`KUBE_CONTROLLER_MANAGER` and `KUBE_SCHEDULER` name the binaries, unless they are on PATH; without them this is skipped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.cluster import Object, until
from tests.e2e.upstream import Standalone, upstream

pytestmark = pytest.mark.xdist_group("e2e-upstream")

_numbers = count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    with upstream(tmp_path_factory.mktemp("upstream")) as found:
        yield found


@pytest.fixture
def namespace(cluster: Standalone) -> Iterator[str]:
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    cluster.wait("--for=create", "serviceaccount/default", "-n", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def workload(api_version: str, kind: str, name: str, **spec: Any) -> Object:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "main"}], **spec.pop("pod", {})}
    template = {"metadata": {"labels": labels}, "spec": pod}
    selector = {} if kind == "Job" else {"selector": {"matchLabels": labels}}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {**selector, "template": template, **spec},
    }


def test_a_deployment_its_service_its_scaling_and_its_budget(cluster: Standalone, namespace: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    utilization = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    cluster.apply(
        workload("apps/v1", "Deployment", "web", replicas=2),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "minReplicas": 4,
                "maxReplicas": 6,
                "scaleTargetRef": target,
                "metrics": [{"type": "Resource", "resource": utilization}],
            },
        },
        namespace=namespace,
    )
    cluster.wait("deployment/web", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=4")
    cluster.wait("pdb/web", "-n", namespace, "--for=jsonpath={.status.disruptionsAllowed}=2")
    until(lambda: len(addresses(cluster, namespace, "web")) == 4, "an endpoint for each pod")
    cluster.kubectl("set", "image", "deployment/web", "main=main:2", "-n", namespace)
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=30s")
    assert len(cluster.get("replicasets", "-n", namespace)["items"]) == 2
    cluster.kubectl("rollout", "undo", "deployment/web", "-n", namespace)
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=30s")
    cluster.kubectl("delete", "deployment", "web", "-n", namespace, "--cascade=foreground")
    assert not cluster.get("replicasets", "-n", namespace)["items"]


def addresses(cluster: Standalone, namespace: str, service: str) -> list[str]:
    slices = cluster.get("endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}")["items"]
    return [address for each in slices for endpoint in each["endpoints"] or () for address in endpoint["addresses"]]


def test_stateful_sets_get_their_volumes(cluster: Standalone, namespace: str) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": namespace,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    for name in ("a", "b"):
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": namespace}
        volume = {**spec, "hostPath": {"path": "/tmp"}, "persistentVolumeReclaimPolicy": "Retain"}
        metadata = {"name": f"{namespace}-{name}"}
        cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": volume})
    templates = [{"metadata": {"name": "data"}, "spec": claim}]
    cluster.apply(
        workload("apps/v1", "StatefulSet", "db", replicas=2, serviceName="db", volumeClaimTemplates=templates),
        namespace=namespace,
    )
    cluster.wait("statefulset/db", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=2")
    phases = cluster.path("pvc", "-n", namespace, of=".items[*].status.phase")
    assert phases.split() == ["Bound", "Bound"]
    assert len(cluster.get("controllerrevisions", "-n", namespace)["items"]) == 1


def test_daemon_sets_and_jobs(cluster: Standalone, namespace: str) -> None:
    never = {"restartPolicy": "Never"}
    cluster.apply(
        workload("apps/v1", "DaemonSet", "agent"),
        workload("batch/v1", "Job", "once", completions=3, parallelism=2, completionMode="Indexed", pod=never),
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "tick"},
            "spec": {
                "schedule": "* * * * *",
                "jobTemplate": {"spec": workload("batch/v1", "Job", "", pod=never)["spec"]},
            },
        },
        namespace=namespace,
    )
    missed = (datetime.now(UTC) - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = f'{{"status":{{"lastScheduleTime":"{missed}"}}}}'
    cluster.kubectl("patch", "cronjob", "tick", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    cluster.wait("daemonset/agent", "-n", namespace, "--for=jsonpath={.status.numberReady}=2")
    cluster.wait("job/once", "-n", namespace, "--for=condition=Complete")
    until(lambda: len(cluster.get("jobs", "-n", namespace)["items"]) > 1, "a job for the missed minute")


def test_what_every_namespace_gets_and_how_it_ends(cluster: Standalone) -> None:
    cluster.kubectl("create", "namespace", "brief")
    cluster.wait("--for=create", "configmap/kube-root-ca.crt", "-n", "brief")
    cluster.kubectl("create", "quota", "small", "-n", "brief", "--hard=configmaps=2,secrets=1")
    token = {"name": "token", "annotations": {"kubernetes.io/service-account.name": "default"}}
    cluster.wait("--for=create", "serviceaccount/default", "-n", "brief")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": token, "type": "kubernetes.io/service-account-token"}
    cluster.apply(secret, namespace="brief")
    cluster.wait("secret/token", "-n", "brief", "--for=jsonpath={.data.token}")
    used = {"configmaps": "1", "secrets": "1"}
    until(lambda: cluster.get("quota", "small", "-n", "brief")["status"].get("used") == used, "both are counted")
    cluster.kubectl("create", "configmap", "second", "-n", "brief")
    refused = cluster.kubectl("create", "configmap", "third", "-n", "brief", check=False)
    assert "exceeded quota: small" in refused
    cluster.kubectl("delete", "namespace", "brief", "--timeout=30s")


def test_owners_take_what_they_own_with_them(cluster: Standalone, namespace: str) -> None:
    cluster.kubectl("create", "configmap", "owner", "-n", namespace)
    uid = cluster.path("configmap", "owner", "-n", namespace, of=".metadata.uid")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    for name, owners in (("owned", [owner]), ("absent", [{**owner, "uid": "00000000-0000-0000-0000-000000000000"}])):
        metadata = {"name": name, "ownerReferences": owners}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, namespace=namespace)
    cluster.kubectl("delete", "configmap", "owner", "-n", namespace)
    cluster.wait("configmap/owned", "configmap/absent", "-n", namespace, "--for=delete")


def test_certificates_are_signed_and_tokens_end(cluster: Standalone) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    spec = {
        "request": base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    cluster.apply({**kind, "metadata": {"name": "jane"}, "spec": spec})
    cluster.kubectl("certificate", "approve", "jane")
    cluster.wait("csr/jane", "--for=jsonpath={.status.certificate}")
    past = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": past}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token", "stringData": data}
    cluster.apply({**secret, "metadata": {"name": "bootstrap-token-abcdef"}}, namespace="kube-system")
    cluster.wait("secret/bootstrap-token-abcdef", "-n", "kube-system", "--for=delete")


def test_the_scheduler_waits_for_room_and_makes_some(cluster: Standalone, namespace: str) -> None:
    for name, value in (("low", 1), ("high", 1000)):
        metadata = {"name": f"{namespace}-{name}"}
        cluster.apply(
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": value}
        )
    cores = int(cluster.path("nodes", of=".items[0].status.allocatable.cpu"))
    most = {"requests": {"cpu": f"{cores * 600}m"}}
    pod = {"containers": [{"name": "main", "image": "main", "resources": most}]}
    low = workload("apps/v1", "Deployment", "low", replicas=2, pod={**pod, "priorityClassName": f"{namespace}-low"})
    cluster.apply(low, namespace=namespace)
    cluster.wait("deployment/low", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=2")
    high = workload("apps/v1", "Deployment", "high", replicas=1, pod={**pod, "priorityClassName": f"{namespace}-high"})
    cluster.apply(high, namespace=namespace)
    cluster.wait("deployment/high", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=1")
    until(lambda: "Preempted" in cluster.kubectl("get", "events", "-n", namespace), "an event of the preemption")
    until(lambda: "FailedScheduling" in cluster.kubectl("get", "events", "-n", namespace), "an event of what waits")


DEVICES = """
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: lamp}
spec: {selectors: [{cel: {expression: "device.attributes['example.com'].colour == 'green'"}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: lamps}
spec:
  nodeName: simulated-1
  driver: example.com
  pool: {name: simulated-1, generation: 1, resourceSliceCount: 1}
  devices:
  - {name: first, attributes: {colour: {string: red}}}
  - {name: second, attributes: {colour: {string: green}}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: lamp}
spec: {spec: {devices: {requests: [{name: any, exactly: {deviceClassName: lamp}}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: lit}
spec:
  resourceClaims: [{name: lamp, resourceClaimTemplateName: lamp}]
  containers: [{name: main, image: main, resources: {claims: [{name: lamp}]}}]
"""


def test_devices_are_allocated_and_given_back(cluster: Standalone, namespace: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", text=DEVICES)
    cluster.wait("pod/lit", "-n", namespace, "--for=condition=Ready")
    assert cluster.path("pod", "lit", "-n", namespace, of=".spec.nodeName") == "simulated-1"
    (claim,) = cluster.get("resourceclaims", "-n", namespace)["items"]
    assert [each["device"] for each in claim["status"]["allocation"]["devices"]["results"]] == ["second"]
    assert [each["name"] for each in claim["status"]["reservedFor"]] == ["lit"]
    cluster.kubectl("delete", "pod", "lit", "-n", namespace)
    until(lambda: not cluster.get("resourceclaims", "-n", namespace)["items"], "the claim goes with its pod")


LATE = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: late}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: late}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: late
  local: {path: /tmp}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [simulated-0]}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: brief}
spec:
  volumes:
  - name: scratch
    ephemeral:
      volumeClaimTemplate:
        spec: {storageClassName: late, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
  containers: [{name: main, image: main, volumeMounts: [{name: scratch, mountPath: /scratch}]}]
"""


def test_a_volume_waits_for_its_pod_and_goes_with_it(cluster: Standalone, namespace: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", text=LATE)
    cluster.wait("pod/brief", "-n", namespace, "--for=condition=Ready")
    assert cluster.path("pod", "brief", "-n", namespace, of=".spec.nodeName") == "simulated-0"
    assert cluster.path("pvc", "brief-scratch", "-n", namespace, of=".status.phase") == "Bound"
    cluster.kubectl("delete", "pod", "brief", "-n", namespace)
    cluster.wait("pvc/brief-scratch", "-n", namespace, "--for=delete")
    cluster.wait("pv/late", "--for=jsonpath={.status.phase}=Released")


def test_the_types_of_a_policy_are_checked_by_our_schemas(cluster: Standalone) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.replicas == 'x' || object.spec.nothing == 1"}],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"}
    cluster.apply({**kind, "metadata": {"name": "wrong"}, "spec": spec})
    path = ("validatingadmissionpolicy", "wrong")
    until(lambda: cluster.get(*path).get("status", {}).get("typeChecking"), "what is wrong with the policy")
    (told,) = cluster.get(*path)["status"]["typeChecking"]["expressionWarnings"]
    assert "undefined field 'nothing'" in told["warning"]
    cluster.kubectl("delete", *path)


def test_the_components_go_on_when_the_api_server_comes_back(cluster: Standalone, namespace: str) -> None:
    cluster.apply(workload("apps/v1", "Deployment", "before", replicas=1), namespace=namespace)
    cluster.wait("deployment/before", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=1")
    holders = leaders(cluster)
    cluster.kill_and_restart("apiserver")
    cluster.until_ready()
    cluster.apply(workload("apps/v1", "Deployment", "after", replicas=2), namespace=namespace)
    cluster.kubectl("scale", "deployment", "before", "--replicas=2", "-n", namespace)
    for name in ("before", "after"):
        cluster.wait(f"deployment/{name}", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=2")
    assert leaders(cluster) == holders


def leaders(cluster: Standalone) -> list[str]:
    leases = cluster.get("leases", "-n", "kube-system")["items"]
    return sorted(each["spec"]["holderIdentity"] for each in leases)


def test_nothing_is_missing(cluster: Standalone) -> None:
    """Runs last: what the components wrote during all of this."""
    assert cluster.faults("controllers", "scheduler") == []
