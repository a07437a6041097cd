"""The objects that measurements create."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

IMAGE = "pilothouse.local/bench:1"
ZONES = ("a", "b", "c")


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service_account() -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


def configmap(name: str, value: str = "v" * 200) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}}


def pod(name: str, *, labels: Mapping[str, str] | None = None, spec: Mapping[str, Any] | None = None) -> Object:
    """A Pod as a Deployment makes it: one container with resources and a port."""
    container = {
        "name": "web",
        "image": IMAGE,
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    }
    metadata = {"name": name, "labels": {"app": "bench", **(labels or {})}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **(spec or {})},
    }


def large_pod(name: str, *, labels: Mapping[str, str] | None = None) -> Object:
    """A Pod of some 4 KB as it is served, that no scheduler looks at."""
    made = pod(name, labels=labels, spec={"schedulerName": "nobody"})
    made["metadata"]["annotations"] = {f"bench.example.com/note-{number}": "n" * 100 for number in range(6)}
    made["spec"]["containers"][0]["env"] = [
        {"name": f"VARIABLE_{number:02}", "value": f"value-{number:04}"} for number in range(8)
    ]
    return made


def running_status(number: int) -> Object:
    """What a kubelet writes when the container runs."""
    since = "2026-01-01T00:00:00Z"
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "status": {
            "phase": "Running",
            "hostIP": "192.0.2.1",
            "podIP": f"10.244.0.{number % 250 + 1}",
            "startTime": since,
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": since} for kind in types],
            "containerStatuses": [
                {
                    "name": "web",
                    "image": IMAGE,
                    "imageID": "sha256:0",
                    "containerID": f"containerd://{number:064}",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": since}},
                }
            ],
        }
    }


def node(number: int) -> Object:
    name = f"node-{number:04}"
    capacity = {"cpu": "4", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": ZONES[number % len(ZONES)]}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]},
    }


def sleeping_pod(name: str, node_name: str) -> Object:
    """A Pod whose container ends as soon as it is told to."""
    command = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]
    container = {"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "command": command}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {"containers": [container], "nodeSelector": {"kubernetes.io/hostname": node_name}},
    }


def policies(count: int) -> list[tuple[str, Object]]:
    """So many webhooks and policies, with their bindings, for Deployments; with the plural of each."""
    rule = {"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["*"], "resources": ["deployments"]}
    webhook = {
        "clientConfig": {"url": "https://127.0.0.1:9/nobody"},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    version = "admissionregistration.k8s.io/v1"
    made: list[tuple[str, Object]] = []
    for number in range(count):
        name = f"bench-{number}.example.com"
        head: Object = {"apiVersion": version, "metadata": {"name": name}}
        hooks = {**head, "kind": "ValidatingWebhookConfiguration", "webhooks": [{**webhook, "name": name}]}
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.spec.replicas < 9"}],
        }
        bound = {"policyName": name, "validationActions": ["Deny"]}
        made.append(("validatingwebhookconfigurations", hooks))
        made.append(("validatingadmissionpolicies", {**head, "kind": "ValidatingAdmissionPolicy", "spec": spec}))
        made.append(
            ("validatingadmissionpolicybindings", {**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound})
        )
    return made
