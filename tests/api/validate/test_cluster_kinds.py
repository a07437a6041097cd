"""Kinds of a cluster's inside: flow control, CSI, addresses, devices. One good object, and what changing a field of it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.api.gvr import CORE_EVENTS, EVENTS
from pilothouse.api.path import FieldError
from pilothouse.api.validate import cluster_address, csi, device_claim, device_slice, event, flowcontrol
from tests.api.validate.loaded import DELETED, changed, loaded, texts

Validate = Callable[[dict[str, Any]], list[FieldError]]
Faults = list[tuple[str, Any, list[str]]]


def obj(api_version: str, kind: str, name: str = "a", **parts: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **parts}


FLOW, STORAGE, DEVICES = "flowcontrol.apiserver.k8s.io/v1", "storage.k8s.io/v1", "resource.k8s.io/v1"
USERS = [{"kind": "User", "user": {"name": "u"}}]
RESOURCES = [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["d"]}]
SCHEMA = obj(FLOW, "FlowSchema", spec={
    "priorityLevelConfiguration": {"name": "low"}, "matchingPrecedence": 100, "rules": [{"subjects": USERS, "resourceRules": RESOURCES}],
})  # fmt: skip
LEVEL = obj(FLOW, "PriorityLevelConfiguration", spec={
    "type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 8, "handSize": 2}}},
})  # fmt: skip
DRIVER = obj(STORAGE, "CSIDriver", "d.example.com", spec={"tokenRequests": [{"audience": "a"}]})
CSI_NODE = obj(
    STORAGE, "CSINode", "n", spec={"drivers": [{"name": "d.example.com", "nodeID": "x", "topologyKeys": ["zone"]}]}
)
ATTACHMENT = obj(STORAGE, "VolumeAttachment", spec={
    "attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"},
})  # fmt: skip
CLASS = obj(STORAGE, "VolumeAttributesClass", driverName="d.example.com", parameters={"a": "b"})
CAPACITY = obj(
    STORAGE, "CSIStorageCapacity", storageClassName="c", nodeTopology={"matchLabels": {"a": "b"}}, capacity="1Gi"
)
ADDRESS = obj(
    "networking.k8s.io/v1", "IPAddress", "10.0.0.1", spec={"parentRef": {"resource": "services", "name": "s"}}
)
CIDR = obj("networking.k8s.io/v1", "ServiceCIDR", spec={"cidrs": ["10.1.0.0/24"]})
REQUEST = {"name": "r", "exactly": {"deviceClassName": "c"}}
CLAIM = obj(DEVICES, "ResourceClaim", spec={"devices": {
    "requests": [REQUEST, {"name": "s", "firstAvailable": [{"name": "x", "deviceClassName": "c"}]}],
    "constraints": [{"requests": ["r", "s/x"], "matchAttribute": "example.com/a"}],
    "config": [{"opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}],
}})  # fmt: skip
SLICE = obj(DEVICES, "ResourceSlice", spec={
    "driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 0, "resourceSliceCount": 1},
    "devices": [{"name": "d", "attributes": {"a": {"string": "x"}}, "capacity": {"mem": {"value": "1Gi"}}}],
})  # fmt: skip

CASES: list[tuple[Validate, dict[str, Any], Faults]] = [
    (flowcontrol.validate_flow_schema, SCHEMA, [
        ("spec.matchingPrecedence", -1, ["spec.matchingPrecedence: Invalid value: -1: must be a positive value"]),
        ("spec.matchingPrecedence", 10001, ["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"]),
        ("spec.matchingPrecedence", 1, ["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt'"]),
        ("spec.distinguisherMethod", {"type": "ByColour"},
         ['spec.distinguisherMethod.type: Unsupported value: {"Type":"ByColour"}: supported values: "ByNamespace", "ByUser"']),
        ("spec.priorityLevelConfiguration", {}, ["spec.priorityLevelConfiguration.name: Required value: must reference"]),
        ("spec.rules.0", {}, ["spec.rules[0].subjects: Required value", "spec.rules[0]: Required value: at least one of"]),
        ("spec.rules.0.subjects.0.kind", "Robot", ['spec.rules[0].subjects[0].kind: Unsupported value: "Robot"']),
        ("spec.rules.0.subjects.0.group", {"name": "g"},
         ["spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'"]),
        ("spec.rules.0.resourceRules.0.verbs", ["get", "*"],
         ["spec.rules[0].resourceRules[0].verbs: Invalid value: [\"get\",\"*\"]: if '*' is present"]),
        ("spec.rules.0.resourceRules.0.namespaces", DELETED,
         ["spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped"]),
        ("spec.rules.0.nonResourceRules", [{"verbs": ["get"], "nonResourceURLs": ["x", "/a//b", "/a*"]}],
         [f"spec.rules[0].nonResourceRules[0].nonResourceURLs[{i}]: Invalid value" for i in range(3)]),
    ]),
    (flowcontrol.validate_priority_level, LEVEL, [
        ("spec.type", "Exempt", ["spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if", "spec.limited: Forbidden"]),
        ("spec.type", "Free", ['spec.type: Unsupported value: "Free": supported values: "Exempt", "Limited"']),
        ("spec.limited.limitResponse.type", "Reject", ["spec.limited.limitResponse.queuing: Forbidden: must be nil"]),
        ("spec.limited.limitResponse.queuing", {"queues": 2, "handSize": 5},
         ["spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (2)"]),
        ("spec.limited.limitResponse.queuing", {"queues": 1024, "handSize": 9},
         ["spec.limited.limitResponse.queuing.handSize: Invalid value: 9: required entropy bits of deckSize 1024 and handSize 9"]),
        ("spec.limited.lendablePercent", 101, ["spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100"]),
    ]),
    (csi.validate_driver, DRIVER, [
        ("spec.fsGroupPolicy", "Some", ['spec.fsGroupPolicy: Unsupported value: "Some": supported values: "File", "None"']),
        ("spec.tokenRequests.1", {"audience": "a"}, ['spec.tokenRequests[1].audience: Duplicate value: "a"']),
        ("spec.tokenRequests.0.expirationSeconds", 599,
         ["spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"]),
        ("spec.volumeLifecycleModes", ["Brief"], ['spec.volumeLifecycleModes: Unsupported value: "Brief"']),
        ("spec.nodeAllocatableUpdatePeriodSeconds", 9, ["spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9"]),
        ("spec", {"serviceAccountTokenInSecrets": True}, ["spec.serviceAccountTokenInSecrets: Invalid value: true"]),
    ]),
    (csi.validate_node, CSI_NODE, [
        ("spec.drivers.0.nodeID", "", ["spec.drivers[0].nodeID: Required value"]),
        ("spec.drivers.0.topologyKeys", ["a", "a"], ['spec.drivers[0]: Duplicate value: "a"']),
        ("spec.drivers.1", {"name": "d.example.com", "nodeID": "y"}, ['spec.drivers[1].name: Duplicate value: "d.example.com"']),
        ("spec.drivers.0.allocatable", {"count": -1}, ["spec.drivers[0].allocatable.count: Invalid value: -1"]),
    ]),
    (csi.validate_attachment, ATTACHMENT, [
        ("spec.source", {}, ["spec.source: Required value: must specify exactly one of"]),
        ("spec.source.inlineVolumeSpec", {"accessModes": ["ReadWriteOnce"]}, ["spec.source: Forbidden: must specify exactly one of"]),
        ("spec.source", {"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}},
         ["spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes"]),
        ("spec.attacher", "", ["spec.attacher: Required value"]),
        ("status.attachError", {"message": "m" * 1025}, ["status.attachError.message: Too long"]),
    ]),
    (csi.validate_attributes_class, CLASS, [
        ("parameters", {}, ["parameters: Required value: must contain at least one key/value pair"]),
        ("driverName", "a b", ["driverName: Invalid value"]),
    ]),
    (csi.validate_capacity, CAPACITY, [
        ("storageClassName", "A", ["storageClassName: Invalid value"]),
        ("capacity", "-1", ["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]),
    ]),
    (cluster_address.validate_address, ADDRESS, [
        ("metadata.name", "010.0.0.1", ["metadata.name: Invalid value: \"010.0.0.1\""]),
        ("spec", {}, ["spec.parentRef: Required value"]),
        ("spec.parentRef", {"resource": "a/b"}, ["spec.parentRef.resource: Invalid value", "spec.parentRef.name: Required value"]),
    ]),
    (cluster_address.validate_service_cidr, CIDR, [
        ("spec.cidrs", [], ["spec.cidrs: Required value: at least one CIDR required"]),
        ("spec.cidrs", ["10.1.0.1/24"], ["spec.cidrs[0]: Invalid value: \"10.1.0.1/24\": must not have bits set"]),
        ("spec.cidrs", ["10.1.0.0/24", "10.2.0.0/24"], ["spec.cidrs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify"]),
    ]),
    (device_claim.validate_claim, CLAIM, [
        ("spec.devices.requests.0", {"name": "r"}, ["spec.devices.requests[0]: Required value: exactly one of `exactly` or"]),
        ("spec.devices.requests.0.firstAvailable", [{"name": "y"}],
         ["spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple"]),
        ("spec.devices.requests.2", REQUEST, ['spec.devices.requests[2]: Duplicate value: "r"']),
        ("spec.devices.requests.0.exactly.allocationMode", "All",
         []),
        ("spec.devices.requests.0.exactly.count", -1,
         ["spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"]),
        ("spec.devices.requests.0.exactly.selectors", [{"cel": {"expression": "1 + 1"}}],
         ["spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value"]),
        ("spec.devices.requests.0.exactly.tolerations", [{"operator": "Exists", "value": "v"}],
         ["spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`"]),
        ("spec.devices.constraints.0.requests", ["s/y"], ["spec.devices.constraints[0].requests[0]: Invalid value: \"s/y\": must be"]),
        ("spec.devices.constraints.0.matchAttribute", "a",
         ["spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name"]),
        ("spec.devices.config.0", {}, ["spec.devices.config[0].opaque: Required value"]),
    ]),
    (device_slice.validate_slice, SLICE, [
        ("spec.allNodes", True, ["spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of"]),
        ("spec.nodeName", DELETED, ["spec: Required value: exactly one of"]),
        ("spec.pool.name", "a//b", ["spec.pool.name: Invalid value: \"\""]),
        ("spec.pool.resourceSliceCount", 0, ["spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"]),
        ("spec.devices.1", {"name": "d"}, ['spec.devices[1]: Duplicate value: "d"']),
        ("spec.devices.0.attributes.a", {"version": "1.0"},
         ["spec.devices[0].attributes[a].version: Invalid value: \"1.0\": must be a string compatible with semver.org"]),
        ("spec.devices.0.attributes.a", {"string": "x", "int": 1},
         ['spec.devices[0].attributes[a]: Invalid value: {"IntValue":1,"BoolValue":null,"StringValue":"x","VersionValue":null']),
        ("spec.devices.0.attributes", {"a/": {"int": 1}}, ["spec.devices[0].attributes: Invalid value: \"\": the name must not be"]),
        ("spec.devices.0.capacity.mem.requestPolicy", {"default": "1Gi"},
         ["spec.devices[0].capacity[mem].requestPolicy: Forbidden: allowMultipleAllocations must be true"]),
        ("spec.devices.0.taints", [{"key": "k", "effect": "Sometimes"}], ["spec.devices[0].taints[0].effect: Unsupported value"]),
        ("spec.devices.0.bindingConditions", ["ready"],
         ["spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required"]),
        ("spec.devices.0.allNodes", True, ["spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes`"]),
        ("spec.sharedCounters", [{"name": "c"}],
         ['spec: Invalid value: "": only one of', "spec.sharedCounters[0].counters: Required value"]),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("validate", "good", "faults"), CASES, ids=[case[1]["kind"] for case in CASES])
def test_kinds(validate: Validate, good: dict[str, Any], faults: Faults) -> None:
    assert texts(validate(loaded(good))) == []
    for path, value, starts in faults:
        found = texts(validate(loaded(changed(good, path, value))))
        assert len(found) == len(starts), (path, found)
        for text, start in zip(found, starts, strict=True):
            assert text.startswith(start), path


Update = Callable[[dict[str, Any], dict[str, Any]], list[FieldError]]
UPDATES: list[tuple[Update, dict[str, Any], str, Any, list[str]]] = [
    (csi.validate_driver_update, DRIVER, "spec.attachRequired", False, ["spec.attachedRequired: Invalid value: false"]),
    (csi.validate_node_update, CSI_NODE, "spec.drivers.0.nodeID", "y",
     ['spec.drivers: Invalid value: {"Name":"d.example.com","NodeID":"y","TopologyKeys":["zone"],"Allocatable":null}: field is']),
    (csi.validate_node_update, CSI_NODE, "spec.drivers.0.allocatable", {"count": 3}, []),
    (csi.validate_attachment_update, ATTACHMENT, "spec.nodeName", "m", ["spec: Invalid value"]),
    (csi.validate_attributes_class_update, CLASS, "parameters", {"a": "c"}, ["parameters: Forbidden: updates to parameters"]),
    (csi.validate_capacity_update, CAPACITY, "nodeTopology", {}, ["nodeTopology: Invalid value: {}: field is immutable"]),
    (cluster_address.validate_address_update, ADDRESS, "spec.parentRef.name", "t",
     ['spec.parentRef: Invalid value: {"Group":"","Resource":"services","Namespace":"","Name":"t"}: field is immutable']),
    (cluster_address.validate_service_cidr_update, CIDR, "spec.cidrs", ["10.1.0.0/24", "fd00::/112"], []),
    (cluster_address.validate_service_cidr_update, CIDR, "spec.cidrs", ["10.2.0.0/24"], ["spec.cidrs[0]: Invalid value"]),
    (device_claim.validate_spec_update, CLAIM, "spec.devices.config", [], ["spec: Invalid value"]),
    (device_slice.validate_slice_update, SLICE, "spec.pool.name", "q", ['spec.pool.name: Invalid value: "q": field is immutable']),
]  # fmt: skip


@pytest.mark.parametrize(("validate", "good", "path", "value", "starts"), UPDATES)
def test_what_stays(validate: Update, good: dict[str, Any], path: str, value: Any, starts: list[str]) -> None:
    found = texts(validate(loaded(changed(good, path, value)), loaded(good)))
    assert len(found) == len(starts), found
    assert all(text.startswith(start) for text, start in zip(found, starts, strict=True)), found


def test_what_the_server_needs_stays_as_it_is() -> None:
    everything = {
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
        ],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    masters = [{"kind": "Group", "group": {"name": "system:masters"}}]
    exempt = obj(FLOW, "FlowSchema", "exempt", spec={
        "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1, "rules": [{"subjects": masters, **everything}],
    })  # fmt: skip
    assert flowcontrol.validate_flow_schema(loaded(exempt)) == []
    found = texts(flowcontrol.validate_flow_schema(loaded(changed(exempt, "spec.rules", []))))
    assert len(found) == 1
    assert found[0].endswith("spec of 'exempt' must equal the fixed value")
    level = obj(
        FLOW, "PriorityLevelConfiguration", "exempt", spec={"type": "Exempt", "exempt": {"lendablePercent": 50}}
    )
    assert flowcontrol.validate_priority_level(loaded(level)) == []


def test_devices_are_allocated_once_and_kept_for_somebody() -> None:
    result = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "d"}
    pod = {"resource": "pods", "name": "p", "uid": "u"}
    free = loaded(CLAIM)
    allocated = {**free, "status": {"allocation": {"devices": {"results": [result]}}, "reservedFor": [pod]}}
    assert device_claim.validate_claim_status_update(allocated, free) == []
    kept_for_nothing = {**free, "status": {"reservedFor": [pod]}}
    assert texts(device_claim.validate_claim_status_update(kept_for_nothing, free)) == [
        "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
    ]
    moved = changed(allocated, "status.allocation.devices.results.0.device", "e")
    assert texts(device_claim.validate_claim_status_update(moved, allocated))[0].startswith(
        "status.allocation: Invalid value"
    )
    unknown = changed(allocated, "status.devices", [{"driver": "d.example.com", "pool": "p", "device": "e"}])
    assert texts(device_claim.validate_claim_status_update(unknown, allocated)) == [
        'status.devices[0]: Invalid value: {"Driver":"d.example.com","Pool":"p","Device":"e","ShareID":""}: '
        "must be an allocated device in the claim"
    ]


def test_events_of_the_newer_api_are_stricter_and_stay() -> None:
    old = loaded(obj("v1", "Event", involvedObject={"kind": "Pod", "name": "p"}, type="Normal", reason="R"))
    old["metadata"].update(namespace="default", resourceVersion="1")
    assert event.validate_event_as(CORE_EVENTS, old, None) == []
    assert texts(event.validate_event_as(EVENTS, {**old, "count": 2, "type": "Odd"}, None)) == [
        "eventTime: Required value",
        'type: Invalid value: "": has invalid value: Odd',
        'count: Invalid value: "": needs to be unset',
    ]
    assert event.validate_event_as(CORE_EVENTS, {**old, "reason": "S"}, old) == []
    assert texts(event.validate_event_as(EVENTS, {**old, "reason": "S"}, old))[0] == (
        'reason: Invalid value: "S": field is immutable'
    )
