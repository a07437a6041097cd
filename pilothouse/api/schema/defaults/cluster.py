"""Defaults of networking, RBAC, devices, flow control and custom resources that depend on other fields."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.meta import Object
from pilothouse.api.schema.defaults.constants import RBAC_GROUP

_QUEUING = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}
_MATCHING_PRECEDENCE = 1000


def _network_policy_spec(spec: Object) -> None:
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _subject(subject: Object) -> None:
    if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = RBAC_GROUP


def _device_request(request: Object) -> None:
    if request.get("allocationMode") == "ExactCount" and not request.get("count"):
        request["count"] = 1


def _device(device: Object) -> None:
    for mapping in (device.get("nodeAllocatableResourceMappings") or {}).values():
        mapping.setdefault("allocationMultiplier", "1")


def _flow_schema_spec(spec: Object) -> None:
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = _MATCHING_PRECEDENCE


def _queuing(queuing: Object) -> None:
    for name, value in _QUEUING.items():
        if not queuing.get(name):
            queuing[name] = value


def _custom_resource_definition(definition: Object) -> None:
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    if not names.get("singular"):
        names["singular"] = kind.lower()
    if kind and not names.get("listKind"):
        names["listKind"] = f"{kind}List"
    status = definition.setdefault("status", {})
    if not status.get("storedVersions"):
        stored = next((version["name"] for version in spec.get("versions", ()) if version.get("storage")), None)
        status["storedVersions"] = [] if stored is None else [stored]


RULES: dict[str, tuple[Callable[[Object], None], ...]] = {
    "flowcontrol.v1.FlowSchemaSpec": (_flow_schema_spec,),
    "flowcontrol.v1.QueuingConfiguration": (_queuing,),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition": (_custom_resource_definition,),
    "networking.v1.NetworkPolicySpec": (_network_policy_spec,),
    "rbac.v1.Subject": (_subject,),
    "resource.v1.Device": (_device,),
    "resource.v1.DeviceSubRequest": (_device_request,),
    "resource.v1.ExactDeviceRequest": (_device_request,),
}
