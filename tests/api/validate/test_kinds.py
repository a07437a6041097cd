"""One good object of a kind, and what changing a field of it does: path, value, the faults' beginnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.api import gvr
from pilothouse.api.path import FieldError
from pilothouse.api.validate import config, endpoint, event, lease, namespace, node, rbac, service, workload
from tests.api.validate.loaded import DELETED, changed, loaded, texts

Validate = Callable[[dict[str, Any]], list[FieldError]]
Faults = list[tuple[str, Any, list[str]]]


def obj(api_version: str, kind: str, **parts: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "default"}, **parts}


TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
WORKLOAD = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
SERVICE = {
    "ports": [{"port": 80}], "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
}  # fmt: skip

CASES: list[tuple[Validate, dict[str, Any], Faults]] = [
    (
        workload.validate_deployment,
        obj("apps/v1", "Deployment", spec=WORKLOAD),
        [
            ("spec.replicas", -1, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
            ("spec.selector.matchLabels", {"app": "b"},
             ['spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`']),
            ("spec.selector", {}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
            ("spec.template.spec.restartPolicy", "Never",
             ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
            ("spec.template.spec.containers.0.name", "A", ['spec.template.spec.containers[0].name: Invalid value: "A"']),
            ("spec.strategy", {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
             ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
            ("spec.strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
             ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0']),
            ("spec.strategy", {"rollingUpdate": {"maxUnavailable": "101%"}},
             ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
            ("spec.progressDeadlineSeconds", 0,
             ["spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"]),
        ],
    ),
    (
        workload.validate_replica_set,
        obj("apps/v1", "ReplicaSet", spec=WORKLOAD),
        [("spec.template.metadata.labels", {"app": "x y"},
          ['spec.template.metadata.labels: Invalid value: {"app":"x y"}', 'spec.template.labels: Invalid value: "x y": a valid label'])],
    ),
    (
        workload.validate_stateful_set,
        obj("apps/v1", "StatefulSet", spec={
            **WORKLOAD, "serviceName": "s",
            "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        }),
        [
            ("spec.template.spec.containers.0.volumeMounts", [{"name": "d", "mountPath": "/d"}], []),
            ("spec.podManagementPolicy", "Any",
             ["spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"]),
            ("spec.volumeClaimTemplates.0.spec.accessModes", [],
             ["spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required"]),
            ("spec.volumeClaimTemplates.0.spec.resources", {},
             ["spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"]),
        ],
    ),
    (
        workload.validate_daemon_set,
        obj("apps/v1", "DaemonSet", spec=WORKLOAD),
        [("spec.updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
          ["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"])],
    ),
    (
        service.validate_service,
        obj("v1", "Service", spec=SERVICE),
        [
            ("spec.ports", [], ["spec.ports: Required value"]),
            ("spec.ports.1", {"port": 81}, ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]),
            ("spec.ports.0.port", 0,
             ["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive", "spec.ports[0].target"]),
            ("spec.ports.0.targetPort", "HTTP", ['spec.ports[0].targetPort: Invalid value: "HTTP"'] * 2),
            ("spec.ports.0.nodePort", 30000, ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]),
            ("spec.type", "Magic", ['spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName"']),
            ("spec.type", "ExternalName",
             ["spec.clusterIPs: Forbidden", "spec.ipFamilies", "spec.ipFamilyPolicy", "spec.externalName: Req"]),
            ("spec.clusterIPs", ["10.96.0.8"],
             ['spec.clusterIPs: Invalid value: ["10.96.0.8"]: first value must match `clusterIP`']),
            ("spec.clusterIPs.1", "10.96.0.10", ["spec.clusterIPs: Invalid value: [", ]),
            ("spec.ipFamilies", ["IPv6"], ['spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value']),
            ("spec.externalIPs", ["127.0.0.1"],
             ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range']),
            ("spec.sessionAffinity", "Sticky",
             ['spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"']),
            ("spec.selector", {"a": "b c"}, ['spec.selector: Invalid value: "b c"']),
            ("spec.externalTrafficPolicy", "Local",
             ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally']),
            ("spec.loadBalancerClass", "x/y",
             ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]),
            ("spec.trafficDistribution", "Near", ['spec.trafficDistribution: Unsupported value: "Near"']),
        ],
    ),
    (
        endpoint.validate_endpoints,
        obj("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]),
        [
            ("subsets.0.addresses", [], ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
            ("subsets.0.addresses.0.ip", "x", ['subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP'] * 2),
            ("subsets.0.addresses.0.ip", "169.254.0.1",
             ['subsets[0].addresses[0].ip: Invalid value: "169.254.0.1": may not be in the link']),
            ("subsets.0.ports.0.port", 0, ["subsets[0].ports[0].port: Invalid value: 0"]),
        ],
    ),
    (
        endpoint.validate_endpoint_slice,
        obj("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}]),
        [
            ("addressType", "IPX", ['addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"']),
            ("endpoints.0.addresses", [], ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
            ("endpoints.0.addresses", ["fd00::1"], ['endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address']),
            ("ports.1", {"port": 81}, ['ports[1].name: Duplicate value: ""']),
            ("endpoints", [{"addresses": ["10.0.0.1"]}] * 1001, ["endpoints: Too many: 1001: must have at most 1000 items"]),
            ("endpoints.0.hints", {"forZones": [{"name": "a"}, {"name": "a"}]},
             ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"']),
        ],
    ),
    (
        node.validate_node,
        obj("v1", "Node", spec={"podCIDRs": ["10.244.0.0/24"], "taints": [{"key": "a", "effect": "NoSchedule"}]}),
        [
            ("spec.podCIDRs.0", "10.244.0.1/24",
             ['spec.podCIDRs[0]: Invalid value: "10.244.0.1/24": must not have bits set beyond']),
            ("spec.podCIDRs.1", "10.245.0.0/24", ["spec.podCIDRs: Invalid value: ["]),
            ("spec.taints.0.effect", "Never", ['metadata.taints[0].effect: Unsupported value: "Never"']),
            ("spec.taints.1", {"key": "a", "effect": "NoSchedule"}, ["metadata.taints[1]: Duplicate value: {"]),
            ("status.allocatable", {"pods": "1500m"}, ['status.allocatable.pods: Invalid value: "1500m": must be an integer']),
        ],
    ),
    (
        namespace.validate_namespace,
        obj("v1", "Namespace", spec={"finalizers": ["kubernetes"]}),
        [("spec.finalizers.0", "mine", ['spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor'])],
    ),
    (
        config.validate_config_map,
        obj("v1", "ConfigMap", data={"a": "b"}, binaryData={"c": "AA=="}),
        [
            ("data", {"a/b": "c"}, ['data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters']),
            ("data", {"..": "c"}, ["data[..]: Invalid value: \"..\": must not be '..'"]),
            ("data", {"c": "d"}, ['data[c]: Invalid value: "c": duplicate of key present in binaryData']),
            ("data", {"a": "x" * 1048577}, ["[]: Too long: may not be more than 1048576 bytes"]),
        ],
    ),
    (
        config.validate_secret,
        obj("v1", "Secret", type="Opaque", data={"a": "Yg=="}),
        [
            ("type", "kubernetes.io/tls", ["data[tls.crt]: Required value", "data[tls.key]: Required value"]),
            ("type", "kubernetes.io/basic-auth", ["data[username]: Required value", "data[password]: Required value"]),
            ("type", "kubernetes.io/ssh-auth", ["data[ssh-privatekey]: Required value"]),
            ("type", "kubernetes.io/service-account-token",
             ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]),
            ("type", "kubernetes.io/dockerconfigjson", ["data[.dockerconfigjson]: Required value"]),
            ("data", {"a b": ""}, ['data[a b]: Invalid value: "a b"']),
        ],
    ),
    (
        rbac.validate_role,
        obj("rbac.authorization.k8s.io/v1", "Role", rules=[{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]),
        [
            ("rules.0.verbs", [], ["rules[0].verbs: Required value: verbs must contain at least one value"]),
            ("rules.0.apiGroups", [], ["rules[0].apiGroups: Required value: resource rules must supply at least one api group"]),
            ("rules.0", {"verbs": ["get"], "nonResourceURLs": ["/x"]},
             ['rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs']),
        ],
    ),
    (
        rbac.validate_cluster_role_binding,
        obj("rbac.authorization.k8s.io/v1", "ClusterRoleBinding",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            subjects=[{"kind": "ServiceAccount", "name": "s", "namespace": "n"}]),
        [
            ("roleRef.kind", "Role", ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"']),
            ("roleRef.name", "a/b", ["roleRef.name: Invalid value: \"a/b\": may not contain '/'"]),
            ("subjects.0.namespace", DELETED, ["subjects[0].namespace: Required value"]),
            ("subjects.0.kind", "Robot",
             ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User"']),
        ],
    ),
    (
        lease.validate_lease,
        obj("coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "n", "leaseDurationSeconds": 40}),
        [("spec.leaseDurationSeconds", 0, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"])],
    ),
    (
        lambda obj: event.validate_event_as(gvr.CORE_EVENTS, obj, None),
        obj("v1", "Event", involvedObject={"kind": "Pod", "namespace": "default", "name": "p"}, reason="R"),
        [
            ("involvedObject.namespace", "other",
             ['involvedObject.namespace: Invalid value: "other": does not match event.namespace']),
            ("eventTime", "2026-01-01T00:00:00.000000Z",
             ["reportingComponent: Required value", "reportingComponent: Invalid value", "reportingComponent: Invalid",
              "reportingInstance: Required value", "action: Required value"]),
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
