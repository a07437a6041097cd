"""What creations and updates of built-in kinds answer, as upstream's own server was seen to."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR
from pilothouse.api.user import User
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.write import Write
from tests.api.validate.loaded import DELETED, changed
from tests.apiserver.harness import Harness, pod

TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
WORKLOAD = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
CLAIM_TEMPLATE = {
    "metadata": {"name": "d"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
LONG = "a" * 254
KEY = "name part must consist of alphanumeric characters, '-', '_' or '.'"


def obj(kind: GVR, **parts: Any) -> dict[str, Any]:
    namespace = {"namespace": "default"} if kind.namespaced else {}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a", **namespace}, **parts}


POD = pod("a")
AUTOSCALER = obj(
    gvr.HORIZONTAL_POD_AUTOSCALERS,
    spec={"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 2},
)
STATEFUL_SET = obj(gvr.STATEFUL_SETS, spec={**WORKLOAD, "volumeClaimTemplates": [CLAIM_TEMPLATE]})
CONTROLLER = obj(gvr.REPLICATION_CONTROLLERS, spec={"selector": {"app": "a"}, "template": TEMPLATE})
JOB = obj(
    gvr.JOBS,
    spec={
        "completions": 2,
        "completionMode": "Indexed",
        "template": changed(TEMPLATE, "spec.restartPolicy", "Never"),
    },
)
EVENT = obj(
    gvr.EVENTS,
    regarding={"namespace": "default"},
    eventTime="2026-01-01T00:00:00.000000Z",
    type="Normal",
    action="a",
    reason="r",
    reportingController="x.io/c",
    reportingInstance="i",
)
CORE_EVENT = obj(
    gvr.CORE_EVENTS,
    involvedObject={"namespace": "default"},
    eventTime="2026-01-01T00:00:00.000000Z",
    action="a",
    reason="r",
    reportingInstance="i",
)
SLICE = obj(
    gvr.ENDPOINT_SLICES, addressType="IPv4", endpoints=[{"addresses": ["1.2.3.4"]}], ports=[{"name": "a", "port": 1}]
)
POLICY = obj(
    gvr.VALIDATING_ADMISSION_POLICIES,
    spec={
        "matchConstraints": {"resourceRules": []},
        "validations": [{"expression": "true"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'v'"}],
    },
)
HOOK = {"name": "a.b.io", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"service": {}}}
HOOKS = obj(gvr.VALIDATING_WEBHOOK_CONFIGURATIONS, webhooks=[HOOK])
QUOTA = obj(gvr.RESOURCE_QUOTAS, spec={"hard": {"pods": "1"}, "scopes": ["NotTerminating"]})

CREATIONS: list[tuple[GVR, dict[str, Any], str, Any, list[str]]] = [
    (gvr.HORIZONTAL_POD_AUTOSCALERS, AUTOSCALER, "spec.behavior", {"scaleUp": {"policies": []}},
     ["spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"]),
    (gvr.SERVICES, obj(gvr.SERVICES, spec={"type": "ExternalName", "externalName": "a.b"}), "spec.internalTrafficPolicy", "",
     ['spec.internalTrafficPolicy: Unsupported value: "": supported values: "Cluster", "Local"']),
    (gvr.SERVICES, obj(gvr.SERVICES, spec={"type": "ExternalName", "externalName": "a.b"}), "spec.ipFamilyPolicy", "",
     ["spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"]),
    (gvr.SERVICES, obj(gvr.SERVICES, spec={"type": "ExternalName", "externalName": "a.b"}), "spec.internalTrafficPolicy", "Local", []),
    (gvr.EVENTS, EVENT, "metadata.generateName", "Bad", ['metadata.generateName: Invalid value: "Bad"']),
    (gvr.EVENTS, EVENT, "metadata.generateName", LONG, ["metadata.generateName: Invalid value"]),
    (gvr.EVENTS, EVENT, "reportingController", DELETED,
     ["reportingController: Required value", "reportingController: Invalid value", "reportingController: Invalid value"]),
    (gvr.CORE_EVENTS, CORE_EVENT, "metadata.generateName", LONG,
     ["reportingComponent: Required value", "reportingComponent: Invalid value", "reportingComponent: Invalid value"]),
    (gvr.LIMIT_RANGES, obj(gvr.LIMIT_RANGES), "metadata.name", DELETED, []),
    (gvr.REPLICATION_CONTROLLERS, CONTROLLER, "metadata.generateName", "Bad Value!", []),
    (gvr.REPLICATION_CONTROLLERS, CONTROLLER, "metadata.name", LONG,
     [f'metadata.name: Invalid value: "{LONG}": must be no more than 253 bytes']),
    (gvr.STATEFUL_SETS, STATEFUL_SET, "spec.volumeClaimTemplates", [CLAIM_TEMPLATE, CLAIM_TEMPLATE], []),
    (gvr.STATEFUL_SETS, STATEFUL_SET, "spec.template.metadata.annotations", {"b!": ""},
     [f'spec.template.annotations: Invalid value: "b!": {KEY}'] * 2),
    (gvr.JOBS, JOB, "metadata.name", DELETED,
     ["metadata.name: Required value", 'metadata.name: Invalid value: "": will not able to create pod with invalid DNS label: -1']),
    (gvr.VALIDATING_ADMISSION_POLICIES, POLICY, "metadata.name", DELETED,
     ["metadata.name: Required value", "spec.matchConstraints.resourceRules: Required value",
      'spec.auditAnnotations[0].key: Invalid value: "k": requires metadata.name be non-empty']),
    (gvr.VALIDATING_ADMISSION_POLICIES, POLICY, "spec.validations.0.reason", "",
     ["spec.matchConstraints.resourceRules: Required value", 'spec.validations[0].reason: Unsupported value: ""']),
    (gvr.VALIDATING_WEBHOOK_CONFIGURATIONS, HOOKS, "webhooks.0.clientConfig.service", {"name": "s"},
     ["webhooks[0].clientConfig.service.name: Required value"]),
    (gvr.RESOURCE_QUOTAS, QUOTA, "spec.hard", {"b!": "0"},
     [f'spec.hard[b!]: Invalid value: "b!": {KEY}', 'spec.hard[b!]: Invalid value: "b!": must be a standard resource for quota']),
    (gvr.NODES, obj(gvr.NODES), "spec", {"taints": [{"key": "k", "effect": "NoSchedule"}] * 2},
     ['metadata.taints[1]: Duplicate value: {"Key":"k","Value":"","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key '
      "and effect pair"]),
    (gvr.PODS, POD, "spec.initContainers", [{"name": "i", "image": "x", "restartPolicyRules": [{}]}],
     ["spec.initContainers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"]),
    (gvr.PODS, POD, "spec.overhead", {"hugepages-2Mi": "1Mi"},
     ['spec.overhead.limits[hugepages-2Mi]: Invalid value: "1Mi": 1Mi is not positive integer multiple of hugepages-2Mi',
      "spec.overhead: Forbidden: HugePages require cpu or memory"]),
    (gvr.PODS, POD, "spec.containers.0.resources", {"requests": {"hugepages-2Mi": "1Mi"}},
     ["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
      'spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "1Mi"',
      "spec.containers[0].resources: Forbidden: HugePages require cpu or memory"]),
    (gvr.ENDPOINT_SLICES, SLICE, "endpoints.0.deprecatedTopology", {"b!": "!"}, []),
    (gvr.ENDPOINT_SLICES, SLICE, "ports.0.protocol", "", ['ports[0].protocol: Unsupported value: ""']),
    (gvr.API_SERVICES, obj(gvr.API_SERVICES, spec={"version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}), "metadata.name",
     DELETED, ["metadata.name: Required value"]),
    (gvr.SECRETS, obj(gvr.SECRETS, type="kubernetes.io/dockerconfigjson"), "data", {".dockerconfigjson": "YQ=="},
     ['data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character \'a\' looking for beginning of value']),
    (gvr.CONTROLLER_REVISIONS, obj(gvr.CONTROLLER_REVISIONS, revision=1), "data", "x",
     ["data: Required value: data must be a valid JSON object"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "base", "path", "value", "expected"),
    CREATIONS,
    ids=[f"{base['kind']} {path}" for _, base, path, _, _ in CREATIONS],
)
async def test_what_is_wrong_with_a_new_object(
    kind: GVR, base: dict[str, Any], path: str, value: Any, expected: list[str]
) -> None:
    answer = await Harness().json("POST", kind.path("default"), body=changed(base, path, value))
    found = [f"{cause['field']}: {cause['message']}" for cause in (answer.get("details") or {}).get("causes", [])]
    assert len(found) == len(expected), found
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True)), found
    assert answer.get("code", 201) == (422 if expected else 201)


TIMES: list[tuple[GVR, dict[str, Any], int]] = [
    (gvr.PODS, POD, 4),
    (gvr.DEPLOYMENTS, obj(gvr.DEPLOYMENTS, spec=WORKLOAD), 3),
    (gvr.ENDPOINT_SLICES, SLICE, 3),
    (
        gvr.POD_DISRUPTION_BUDGETS,
        obj(gvr.POD_DISRUPTION_BUDGETS, spec={"selector": {"matchLabels": {"a": "b"}}}),
        2,
    ),
]


@pytest.mark.parametrize(("kind", "base", "times"), TIMES, ids=[base["kind"] for _, base, _ in TIMES])
async def test_a_fault_of_metadata_is_told_as_often_as_it_is_found(kind: GVR, base: dict[str, Any], times: int) -> None:
    server = Harness()
    created = await server.json("POST", kind.path("default"), body=base)
    bad = changed(created, "metadata.labels", {"a": "!"})
    answer = await server.json("PUT", kind.path("default", "a"), body=bad)
    assert [cause["field"] for cause in answer["details"]["causes"]] == ["metadata.labels"] * times


async def test_an_update_may_not_come_with_a_bad_beginning_of_a_name() -> None:
    server = Harness()
    created = await server.json("POST", gvr.PODS.path("default"), body=POD)
    answer = await server.json(
        "PUT", gvr.PODS.path("default", "a"), body=changed(created, "metadata.generateName", "Bad")
    )
    assert [cause["field"] for cause in answer["details"]["causes"]] == ["metadata.generateName"]


@pytest.mark.parametrize(
    ("text", "why"), [("x", "invalid syntax"), ("-1", "invalid syntax"), (str(2**64), "value out of range")]
)
async def test_a_resource_version_that_is_no_number_is_an_error_of_the_server(text: str, why: str) -> None:
    server = Harness()
    created = await server.json("POST", gvr.PODS.path("default"), body=POD)
    answer = await server.json(
        "PUT", gvr.PODS.path("default", "a"), body=changed(created, "metadata.resourceVersion", text)
    )
    assert (answer["code"], answer["message"]) == (500, f'strconv.ParseUint: parsing "{text}": {why}')


async def test_the_topology_of_an_endpoint_is_not_written_but_its_node_stays() -> None:
    server = Harness()
    created = await server.json(
        "POST",
        gvr.ENDPOINT_SLICES.path("default"),
        body=changed(SLICE, "endpoints.0.deprecatedTopology", {"kubernetes.io/hostname": "n"}),
    )
    assert created["endpoints"] == [{"addresses": ["1.2.3.4"], "conditions": {}}]


async def test_a_limit_range_without_a_name_is_called_by_a_uuid() -> None:
    body = changed(obj(gvr.LIMIT_RANGES), "metadata.name", DELETED)
    created = await Harness().json("POST", gvr.LIMIT_RANGES.path("default"), body=body)
    assert len(created["metadata"]["name"]) == 36
    assert created["metadata"]["name"] != created["metadata"]["uid"]


async def test_an_update_may_say_that_a_pod_has_no_overhead() -> None:
    server = Harness()
    created = await server.json("POST", gvr.PODS.path("default"), body=POD)
    updated = await server.json("PUT", gvr.PODS.path("default", "a"), body=changed(created, "spec.overhead", {}))
    assert updated["spec"] == created["spec"]


async def test_the_server_owns_the_status_of_a_definition() -> None:
    server = Harness()
    registry = await server.app.endpoint(gvr.CUSTOM_RESOURCE_DEFINITIONS).registry()
    names = {"plural": "things", "kind": "Thing"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]
    spec = {"group": "a.io", "names": names, "scope": "Namespaced", "versions": versions}
    body = {**obj(gvr.CUSTOM_RESOURCE_DEFINITIONS, spec=spec), "metadata": {"name": "things.a.io"}}
    path = gvr.CUSTOM_RESOURCE_DEFINITIONS.path(name="things.a.io")
    await server.json("POST", gvr.CUSTOM_RESOURCE_DEFINITIONS.path(), body=body)

    async def accept(now: dict[str, Any]) -> dict[str, Any]:
        return {**now, "status": {**now["status"], "acceptedNames": names}}

    track = own(gvr.CUSTOM_RESOURCE_DEFINITIONS, subresource="status")
    await registry.change(accept, Write(User("system:apiserver"), name="things.a.io", track=track))
    entries = (await server.json("GET", path))["metadata"]["managedFields"]
    (entry,) = (one for one in entries if one["manager"] == "kube-apiserver")
    assert (entry["operation"], entry["subresource"]) == ("Update", "status")
    assert entry["fieldsV1"]["f:status"]["f:acceptedNames"] == {"f:kind": {}, "f:plural": {}}


async def test_a_template_without_overhead_is_written_without_it() -> None:
    body = obj(gvr.DEPLOYMENTS, spec=changed(WORKLOAD, "template.spec.overhead", {}))
    created = await Harness().json("POST", gvr.DEPLOYMENTS.path("default"), body=body)
    assert "overhead" not in created["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "target.name: Required value"),
        (
            {"kind": "x"},
            '[target.kind: Unsupported value: "x": supported values: "Node", "<empty>", target.name: Required value]',
        ),
    ],
)
async def test_a_binding_to_no_node_is_an_error_of_the_server(target: dict[str, str], message: str) -> None:
    server = Harness()
    await server.json("POST", gvr.PODS.path("default"), body=POD)
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": target}
    answer = await server.json("POST", gvr.PODS.path("default", "a", "binding"), body=body)
    assert (answer["code"], answer["message"]) == (500, message)


CLAIM = obj(
    gvr.RESOURCE_CLAIMS,
    spec={"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}], "config": []}},
)
CLAIM_SHOWN = (
    '{"Devices":{"Requests":[{"Name":"s","Exactly":{"DeviceClassName":"c","Selectors":null,"AllocationMode":"ExactCount","Count":1,'
    '"AdminAccess":null,"Tolerations":null,"Capacity":null},"FirstAvailable":null}],"Constraints":null,"Config":null}}'
)
TAINTED = obj(gvr.NODES, spec={"taints": [{"key": "k", "effect": "NoSchedule"}]})
UPDATES: list[tuple[GVR, dict[str, Any], str, Any, list[str]]] = [
    (gvr.JOBS, JOB, "spec.backoffLimit", -1, ["spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"] * 2),
    (gvr.RESOURCE_CLAIMS, CLAIM, "spec.devices.requests.0.name", "s", [f"spec: Invalid value: {CLAIM_SHOWN}: field is immutable"]),
    (gvr.NODES, TAINTED, "spec.taints.0.effect", "x", ['metadata.taints[0].effect: Unsupported value: "x"'] * 2),
    (gvr.PODS, POD, "spec.tolerations", [{"operator": "Exists", "effect": "x"}],
     ['spec.tolerations[0].effect: Unsupported value: "x"'] * 2),
    (gvr.EVENTS, EVENT, "deprecatedSource", {"component": "x"}, ['source: Invalid value: {"Component":"x","Host":""}: field is immutable']),
    (gvr.EVENTS, EVENT, "reason", DELETED, ["reason: Required value", *['reason: Invalid value: "": field is immutable'] * 2]),
    (gvr.PRIORITY_CLASSES, obj(gvr.PRIORITY_CLASSES, value=1), "preemptionPolicy", "x",
     ['preemptionPolicy: Invalid value: "x": field is immutable']),
    (gvr.RESOURCE_QUOTAS, QUOTA, "spec.scopes", DELETED, ["spec.scopes: Invalid value: null: field is immutable"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "base", "path", "value", "expected"),
    UPDATES,
    ids=[f"{base['kind']} {path}" for _, base, path, _, _ in UPDATES],
)
async def test_what_is_wrong_with_an_update(
    kind: GVR, base: dict[str, Any], path: str, value: Any, expected: list[str]
) -> None:
    server = Harness()
    created = await server.json("POST", kind.path("default"), body=base)
    answer = await server.json("PUT", kind.path("default", "a"), body=changed(created, path, value))
    found = [f"{cause['field']}: {cause['message']}" for cause in answer["details"]["causes"]]
    assert len(found) == len(expected), found
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True)), found


async def test_annotations_of_a_deployment_count_as_a_change() -> None:
    server = Harness()
    created = await server.json("POST", gvr.DEPLOYMENTS.path("default"), body=obj(gvr.DEPLOYMENTS, spec=WORKLOAD))
    path = gvr.DEPLOYMENTS.path("default", "a")
    updated = await server.json("PUT", path, body=changed(created, "metadata.annotations", {"a": "b"}))
    assert updated["metadata"]["generation"] == 2
    updated = await server.json("PUT", path, body=changed(updated, "metadata.labels", {"a": "b"}))
    assert updated["metadata"]["generation"] == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_a_subresource_of_a_pod_does_not_take_is_owned_all_the_same(method: str) -> None:
    server = Harness()
    created = await server.json("POST", gvr.PODS.path("default"), body=POD)
    body = changed(created, "metadata.labels", {**created["metadata"]["labels"], "z": "y"})
    body = changed(body, "spec.ephemeralContainers", [{"name": "e", "image": "y"}])
    headers = {"user-agent": "me"}
    if method == "PATCH":
        headers["content-type"] = "application/merge-patch+json"
    path = gvr.PODS.path("default", "a", "ephemeralcontainers")
    answer = await server.json(method, path, body=body, headers=headers)
    assert answer["metadata"]["labels"] == {"app": "a"}
    (entry,) = (one for one in answer["metadata"]["managedFields"] if one["manager"] == "me")
    assert entry["subresource"] == "ephemeralcontainers"
    assert entry["fieldsV1"]["f:metadata"] == {"f:labels": {"f:z": {}}}
    assert "f:ephemeralContainers" in entry["fieldsV1"]["f:spec"]


async def test_a_volume_tells_when_its_phase_changed() -> None:
    server = Harness()
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    created = await server.json("POST", gvr.PERSISTENT_VOLUMES.path(), body=obj(gvr.PERSISTENT_VOLUMES, spec=spec))
    await server.clock.advance(60)
    path = gvr.PERSISTENT_VOLUMES.path(name="a", subresource="status")
    bound = await server.json("PUT", path, body=changed(created, "status.phase", "Bound"))
    assert bound["status"]["lastPhaseTransitionTime"] > created["status"]["lastPhaseTransitionTime"]
    said = "2020-01-01T00:00:00Z"
    body = changed(changed(bound, "status.phase", "Released"), "status.lastPhaseTransitionTime", said)
    assert (await server.json("PUT", path, body=body))["status"]["lastPhaseTransitionTime"] == said


async def test_the_status_of_a_policy_is_validated() -> None:
    server = Harness()
    rules = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
    body = changed(POLICY, "spec.matchConstraints.resourceRules", rules)
    created = await server.json("POST", gvr.VALIDATING_ADMISSION_POLICIES.path(), body=body)
    status = {"conditions": [{}], "typeChecking": {"expressionWarnings": [{}]}}
    path = gvr.VALIDATING_ADMISSION_POLICIES.path(name="a", subresource="status")
    answer = await server.json("PUT", path, body=changed(created, "status", status))
    assert {cause["field"] for cause in answer["details"]["causes"]} == {
        *(f"status.conditions[0].{field}" for field in ("type", "status", "lastTransitionTime", "reason")),
        *(f"status.typeChecking.expressionWarnings[0].{field}" for field in ("warning", "fieldRef")),
    }


async def test_an_enumeration_of_a_definition_may_have_null() -> None:
    names = {"plural": "things", "kind": "Thing"}
    field = {"type": "string", "nullable": True, "enum": ["x", None]}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"a": field}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "a.io", "names": names, "scope": "Namespaced", "versions": versions}
    body = {**obj(gvr.CUSTOM_RESOURCE_DEFINITIONS, spec=spec), "metadata": {"name": "things.a.io"}}
    created = await Harness().json("POST", gvr.CUSTOM_RESOURCE_DEFINITIONS.path(), body=body)
    assert created["spec"]["versions"][0]["schema"] == schema


@pytest.mark.parametrize(
    ("text", "why"), [("x", "invalid syntax"), ("", "invalid syntax"), ("9" * 19, "value out of range")]
)
async def test_the_generation_of_a_daemon_sets_template_is_a_number(text: str, why: str) -> None:
    body = obj(gvr.DAEMON_SETS, spec=WORKLOAD)
    body["metadata"]["annotations"] = {"deprecated.daemonset.template.generation": text}
    answer = await Harness().json("POST", gvr.DAEMON_SETS.path("default"), body=body)
    said = f'strconv.ParseInt: parsing "{text}": {why}'
    assert answer["message"] == f'DaemonSet in version "v1" cannot be handled as a DaemonSet: {said}'
    assert answer["code"] == 400


async def test_a_name_that_is_taken_is_told_in_the_terms_of_the_request() -> None:
    server = Harness()
    for kind, body in ((gvr.PODS, POD), (gvr.EVENTS, EVENT)):
        await server.json("POST", kind.path("default"), body=body)
        answer = await server.json("POST", kind.path("default"), body=body)
        assert answer["message"] == f'{kind.group_resource} "a" already exists'
        for method in ("GET", "DELETE"):
            answer = await server.json(method, kind.path("default", "b"))
            assert answer["message"] == f'{kind.group_resource} "b" not found'
    answer = await server.json("POST", gvr.PODS.path("default"), body=changed(POD, "metadata.generateName", "b-"))
    assert answer["message"].endswith("the server was not able to generate a unique name for the object")
