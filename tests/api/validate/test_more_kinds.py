"""Jobs, storage, ingress and policies: one good object of a kind, and what changing a field of it does."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.validate import autoscaling, claim, ingress, job, policy, storage, webhook
from tests.api.validate.loaded import DELETED, changed, loaded, texts
from tests.api.validate.test_kinds import TEMPLATE, Faults, Validate, obj

JOB_TEMPLATE = changed(TEMPLATE, "spec.restartPolicy", "Never")
JOB = changed(
    obj("batch/v1", "Job", spec={"manualSelector": True, "selector": {"matchLabels": {"app": "a"}}, "template": JOB_TEMPLATE}),
    "metadata.uid", "u",
)  # fmt: skip
CLAIM = obj(
    "v1",
    "PersistentVolumeClaim",
    spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
)
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}

CASES: list[tuple[Validate, dict[str, Any], Faults]] = [
    (
        job.validate_job, JOB,
        [
            ("spec.template.spec.restartPolicy", "Always",
             ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
            ("spec.parallelism", -1, ["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"]),
            ("spec.completionMode", "Indexed", []),
            ("spec.backoffLimitPerIndex", 1, ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
            ("spec.selector", DELETED, ["spec.selector: Required value", "spec.template.metadata.labels: Invalid value"]),
            ("spec.manualSelector", False,
             [*["spec.template.metadata.labels["] * 4, 'spec.selector: Invalid value: {"matchLabels":{"app":"a"}}: `selector` not']),
            ("spec.podFailurePolicy", {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0, 0]}}]},
             ["spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0",
              "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0", "spec.podFailurePolicy.rules[0].onExitCodes.val"]),
        ],
    ),
    (
        job.validate_cron_job,
        obj("batch/v1", "CronJob", spec={"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}),
        [
            ("spec.schedule", "every day", ['spec.schedule: Invalid value: "every day": expected exactly 5 fields, found 2']),
            ("spec.schedule", "TZ=UTC 0 0 * * *", ['spec.schedule: Invalid value: "TZ=UTC 0 0 * * *": cannot use TZ or CRON_TZ']),
            ("spec.timeZone", "Mars/Base", ['spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base']),
            ("spec.concurrencyPolicy", "Queue",
             ['spec.concurrencyPolicy: Unsupported value: "Queue": supported values: "Allow", "Forbid"']),
            ("metadata.name", "a" * 53, ["metadata.name: Invalid value"]),
        ],
    ),
    (
        claim.validate_claim, CLAIM,
        [
            ("spec.accessModes", ["Sometimes"],
             ['spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany"']),
            ("spec.accessModes", ["ReadWriteOncePod", "ReadOnlyMany"],
             ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"]),
            ("spec.resources.requests.storage", "0", ['spec.resources[storage]: Invalid value: "0": must be greater than zero']),
            ("spec.volumeMode", "Tape", ['spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"']),
        ],
    ),
    (
        storage.validate_persistent_volume,
        obj("v1", "PersistentVolume", spec={
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}}),
        [
            ("spec.accessModes", [], ["spec.accessModes: Required value"]),
            ("spec.capacity", {},
             ["spec.capacity: Required value", "spec.capacity: Unsupported value: null: supported values: \"storage\""]),
            ("spec.nfs", {"server": "s", "path": "/"}, ["spec.nfs: Forbidden: may not specify more than 1 volume type"]),
            ("spec.hostPath", DELETED, ["spec: Required value: must specify a volume type"]),
            ("spec.persistentVolumeReclaimPolicy", "Burn", ['spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn"']),
        ],
    ),
    (
        storage.validate_storage_class,
        obj("storage.k8s.io/v1", "StorageClass", provisioner="example.com/p"),
        [
            ("provisioner", "", ["provisioner: Required value"]),
            ("reclaimPolicy", "Recycle", ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"']),
            ("volumeBindingMode", "Later", ['volumeBindingMode: Unsupported value: "Later"']),
        ],
    ),
    (
        ingress.validate_ingress,
        obj("networking.k8s.io/v1", "Ingress", spec={
            "rules": [{"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}]}),
        [
            ("spec.rules", [], ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
            ("spec.rules.0.host", "*.*.example",
             ['spec.rules[0].host: Invalid value: "*.*.example": a wildcard DNS-1123 subdomain']),
            ("spec.rules.0.host", "1.2.3.4",
             ['spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address']),
            ("spec.rules.0.http.paths.0.path", "a//b",
             ['spec.rules[0].http.paths[0].path: Invalid value: "a//b": must be an absolute path',
              "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'"]),
            ("spec.rules.0.http.paths.0.backend", {},
             ['spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service']),
            ("spec.tls", [{"hosts": ["A"]}], ['spec.tls[0].hosts[0]: Invalid value: "A"']),
        ],
    ),
    (
        ingress.validate_network_policy,
        obj("networking.k8s.io/v1", "NetworkPolicy", spec={
            "podSelector": {}, "ingress": [
                {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80}]}]}),
        [
            ("spec.ingress.0.from.0.ipBlock.except", ["11.0.0.0/16"],
             ['spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`']),
            ("spec.ingress.0.from.0", {}, ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
            ("spec.ingress.0.ports.0.endPort", 79,
             ["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"]),
            ("spec.policyTypes", ["Sideways"], ['spec.policyTypes[0]: Unsupported value: "Sideways"']),
        ],
    ),
    (
        autoscaling.validate_autoscaler,
        obj("autoscaling/v2", "HorizontalPodAutoscaler", spec={
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}),
        [
            ("spec.maxReplicas", 0, ["spec.maxReplicas: Required value", "spec.maxReplicas: Invalid value: 0: must be greater than or"]),
            ("spec.minReplicas", 4, ["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]),
            ("spec.scaleTargetRef.name", "", ["spec.scaleTargetRef.name: Required value"]),
            ("spec.metrics.0.type", "Pods", ["spec.metrics[0].pods: Required value: must populate information"]),
            ("spec.metrics.0.resource.target", {"type": "Value"},
             ["spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a"]),
        ],
    ),
    (
        webhook.validate_webhooks,
        obj("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", webhooks=[{
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a.example.com/x"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]),
        [
            ("webhooks.0.name", "short", ['webhooks[0].name: Invalid value: "short": should be a domain with at least three segments']),
            ("webhooks.0.sideEffects", "Some", ['webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None"']),
            ("webhooks.0.clientConfig", {}, ["webhooks[0].clientConfig: Required value: exactly one of url or service is required"]),
            ("webhooks.0.clientConfig.url", "http://u@h#f", ["webhooks[0].clientConfig.url: Invalid value"] * 3),
            ("webhooks.0.timeoutSeconds", 31, ["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between"]),
            ("webhooks.0.rules.0.resources", ["*", "pods"], ["webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*'"]),
            ("webhooks.0.admissionReviewVersions", ["v9"], ['webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include']),
        ],
    ),
    (
        policy.validate_disruption_budget,
        obj("policy/v1", "PodDisruptionBudget", spec={"minAvailable": "50%", "selector": {}}),
        [
            ("spec.minAvailable", "150%", ['spec.minAvailable: Invalid value: "150%": must not be greater than 100%']),
            ("spec.minAvailable", "half", ['spec.minAvailable: Invalid value: "half": a valid percent string must be a numeric']),
            ("spec.maxUnavailable", 1, ["spec: Invalid value: {"]),
        ],
    ),
    (
        policy.validate_priority_class,
        obj("scheduling.k8s.io/v1", "PriorityClass", value=1),
        [
            ("value", 1_000_000_001, ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]),
            ("metadata.name", "system-mine", ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved"]),
        ],
    ),
    (
        policy.validate_limit_range,
        obj("v1", "LimitRange", spec={"limits": [{"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}}]}),
        [
            ("spec.limits.0.min.cpu", "2",
             ["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
              "spec.limits[0].defaultRequest[cpu]", "spec.limits[0].default[cpu]"]),
            ("spec.limits.0.type", "Room", ['spec.limits[0].type: Invalid value: "Room": must be a standard limit type or']),
            ("spec.limits.1", {"type": "Container"}, ['spec.limits[1].type: Duplicate value: "Container"']),
        ],
    ),
    (
        policy.validate_resource_quota,
        obj("v1", "ResourceQuota", spec={"hard": {"pods": "10", "requests.cpu": "4"}}),
        [
            ("spec.hard", {"pods": "1.5"}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
            ("spec.hard", {"storage": "1"},
             ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota']),
            ("spec.scopes", ["Terminating", "NotTerminating"],
             ["spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting"]),
            ("spec.scopes", ["Best"], ['spec.scopes: Invalid value: ["Best"]: unsupported scope']),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("validate", "good", "faults"), CASES, ids=[case[1]["kind"] for case in CASES])
def test_kinds(validate: Validate, good: dict[str, Any], faults: Faults) -> None:
    assert texts(validate(loaded(good))) == []
    for path, value, starts in faults:
        found = texts(validate(loaded(changed(good, path, value))))
        assert len(found) == len(starts), (path, found)
        for text, start in zip(found, starts, strict=True):
            assert text.startswith(start), path


def test_a_job_keeps_its_template_unless_it_waits() -> None:
    old = loaded(JOB)
    new = changed(old, "spec.template.spec.nodeSelector", {"a": "b"})
    assert texts(job.validate_job_update(new, old))[0].startswith("spec.template: Invalid value")
    waiting = changed(old, "spec.suspend", True)
    assert job.validate_job_update(new, waiting) == []


def test_a_claim_grows_only_when_bound() -> None:
    old = loaded(CLAIM)
    new = changed(old, "spec.resources.requests.storage", "2Gi")
    assert (
        "spec is immutable after creation except resources.requests" in texts(claim.validate_claim_update(new, old))[0]
    )
    bound_old, bound_new = (
        changed(each, "status", {"phase": "Bound", "capacity": {"storage": "1Gi"}}) for each in (old, new)
    )
    assert claim.validate_claim_update(bound_new, bound_old) == []
    smaller = changed(bound_old, "spec.resources.requests.storage", "512Mi")
    assert texts(claim.validate_claim_update(smaller, bound_old)) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]
    assert claim.validate_claim_update(changed(old, "spec.volumeName", "v"), old) == []


@pytest.mark.parametrize(
    ("kind", "version", "is_told"),
    [
        ("Deployment", "apps/v1", False),
        ("Deployment", "v1", True),
        ("Deployment", "", True),
        ("ReplicationController", "v1", False),
        ("ReplicationController", "", False),
    ],
)
def test_what_is_scaled_has_a_group_but_for_the_oldest(kind: str, version: str, is_told: bool) -> None:
    """`kubectl autoscale rc` names `v1`."""

    def scaled(kind: str, version: str, **metadata: str) -> dict[str, Any]:
        target = {"apiVersion": version, "kind": kind, "name": "x"}
        found = obj("autoscaling/v2", "HorizontalPodAutoscaler", spec={"maxReplicas": 3, "scaleTargetRef": target})
        found["metadata"].update(metadata)
        return loaded(found)

    told = ["spec.scaleTargetRef.apiVersion: Invalid value: " + f'"{version}": apiVersion must specify API group']
    assert texts(autoscaling.validate_autoscaler(scaled(kind, version))) == (told if is_told else [])
    other = scaled("StatefulSet", "apps/v1", resourceVersion="1")
    new = scaled(kind, version, resourceVersion="1")
    assert texts(autoscaling.validate_autoscaler_update(new, other)) == (told if is_told else [])
    assert texts(autoscaling.validate_autoscaler_update(new, new)) == []
