"""What is filled in where a client said nothing."""

from __future__ import annotations

import pytest

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.meta import Object
from pilothouse.api.schema import schema_of
from pilothouse.api.schema.defaults.pods import image_pull_policy


def defaulted(api_version: str, kind: str, obj: Object) -> Object:
    schema = schema_of(api_version, kind)
    schema.load(obj)
    schema.default(obj)
    return obj


@pytest.mark.parametrize("gvr", [gvr for resource in RESOURCES for gvr in (resource.gvr, *resource.other_versions)])
def test_defaulting_is_idempotent_for_every_kind(gvr: object) -> None:
    schema = schema_of(gvr.api_version, gvr.kind)  # type: ignore[attr-defined]
    obj: Object = {"metadata": {"name": "a"}}
    schema.load(obj)
    schema.default(obj)
    before = repr(obj)
    schema.default(obj)
    assert repr(obj) == before
    assert schema.load(obj) == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        (f"nginx@sha256:{'a' * 64}", "IfNotPresent"),
        (f"nginx:latest@sha256:{'a' * 64}", "Always"),
        ("nginx@sha256:abc", "IfNotPresent"),
        ("No Image!", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_image_pull_policy(image: str, policy: str) -> None:
    assert image_pull_policy(image) == policy


def test_a_pod() -> None:
    pod = defaulted(
        "v1",
        "Pod",
        {
            "metadata": {"name": "a"},
            "spec": {
                "serviceAccount": "old",
                "hostNetwork": True,
                "containers": [
                    {
                        "name": "c",
                        "image": "x:1",
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
                        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        "readinessProbe": {"httpGet": {"port": 80}},
                    }
                ],
                "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
            },
        },
    )
    spec = pod["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "old"
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["schedulerName"]) == (
        "Always",
        "ClusterFirst",
        "default-scheduler",
    )
    assert (spec["terminationGracePeriodSeconds"], spec["enableServiceLinks"], spec["securityContext"]) == (
        30,
        True,
        {},
    )
    assert spec["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
    ]
    container = spec["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert (container["terminationMessagePath"], container["imagePullPolicy"]) == (
        "/dev/termination-log",
        "IfNotPresent",
    )


def test_a_pod_template_gets_no_requests_from_limits() -> None:
    container = {"name": "c", "image": "x", "resources": {"limits": {"cpu": "1"}}}
    deployment = defaulted("apps/v1", "Deployment", {"spec": {"template": {"spec": {"containers": [container]}}}})
    spec = deployment["spec"]
    assert spec["template"]["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)


def test_zero_replicas_stay_zero() -> None:
    assert defaulted("apps/v1", "Deployment", {"spec": {"replicas": 0}})["spec"]["replicas"] == 0


def test_recreate_has_no_rolling_update() -> None:
    deployment = defaulted("apps/v1", "Deployment", {"spec": {"strategy": {"type": "Recreate"}}})
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_resources_of_a_whole_pod_come_from_its_containers() -> None:
    pod = defaulted(
        "v1",
        "Pod",
        {
            "spec": {
                "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
                "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}],
                "initContainers": [{"name": "b", "resources": {"requests": {"cpu": "1"}}}],
            }
        },
    )
    assert pod["spec"]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster"}),
        (
            {"type": "NodePort", "sessionAffinity": "ClientIP"},
            {
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "externalTrafficPolicy": "Cluster",
                "internalTrafficPolicy": "Cluster",
            },
        ),
        ({"type": "ExternalName"}, {"type": "ExternalName", "sessionAffinity": "None"}),
        ({"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True}),
    ],
)
def test_services(spec: Object, expected: Object) -> None:
    found = defaulted("v1", "Service", {"spec": spec})["spec"]
    assert {key: found.get(key) for key in expected} == expected


def test_target_ports_are_ports() -> None:
    service = defaulted("v1", "Service", {"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]}})
    assert service["spec"]["ports"] == [
        {"port": 80, "protocol": "TCP", "targetPort": 80},
        {"port": 81, "targetPort": "web", "protocol": "TCP"},
    ]


def test_secrets_take_plain_text() -> None:
    secret = defaulted("v1", "Secret", {"data": {"a": "eA==", "b": "eQ=="}, "stringData": {"b": "z"}})
    assert secret["data"] == {"a": "eA==", "b": "eg=="}
    assert secret["type"] == "Opaque"
    assert "stringData" not in secret


def test_jobs() -> None:
    spec = defaulted("batch/v1", "Job", {"spec": {"parallelism": 2, "backoffLimitPerIndex": 1}})["spec"]
    assert "completions" not in spec
    assert spec["backoffLimit"] == 0x7FFFFFFF
    assert (spec["completionMode"], spec["suspend"], spec["podReplacementPolicy"]) == (
        "NonIndexed",
        False,
        "TerminatingOrFailed",
    )


def test_limit_ranges_fill_from_the_outside_in() -> None:
    limit = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"memory": "1Gi"}}
    item = defaulted("v1", "LimitRange", {"spec": {"limits": [limit]}})["spec"]["limits"][0]
    assert item["default"] == {"cpu": "2", "memory": "1Gi"}
    assert item["defaultRequest"] == {"cpu": "2", "memory": "1Gi"}


def test_autoscaling_behaviour_is_whole_once_it_is_there() -> None:
    spec: Object = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}
    behavior = defaulted("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": spec})["spec"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 60
    assert behavior["scaleDown"]["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]
    assert len(behavior["scaleUp"]["policies"]) == 2


def test_addresses_of_a_pod_agree() -> None:
    status: Object = {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]}
    assert defaulted("v1", "Pod", {"status": status})["status"]["podIPs"] == [{"ip": "10.0.0.2"}]


def test_constants_are_not_shared_between_objects() -> None:
    first = defaulted("v1", "Pod", {"spec": {}})
    first["spec"]["securityContext"]["runAsUser"] = 1
    assert defaulted("v1", "Pod", {"spec": {}})["spec"]["securityContext"] == {}
