"""Deciding the EndpointSlices that mirror an Endpoints object which its user wrote. All functions are pure.

Source: upstream `pkg/controller/endpointslicemirroring`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import ENDPOINT_SLICES, ENDPOINTS
from pilothouse.api.meta import Object
from pilothouse.api.views.endpoint_slice import MANAGED_BY_LABEL, SERVICE_NAME_LABEL, EndpointSliceView
from pilothouse.controllers.endpoints import members, packing
from pilothouse.controllers.endpoints.packing import Actions, Group

MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = frozenset(
    {"endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"}
)
ADDRESSES_PER_SUBSET = 1000
NAME_LENGTH = 253


def is_mirrored(endpoints: Mapping[str, Any], service: Mapping[str, Any] | None) -> bool:
    """Whether it has slices that mirror it: it belongs to a Service without a selector and does not opt out."""
    if service is None or service["spec"].get("selector"):
        return False
    skips = meta.labels_of(endpoints).get(SKIP_LABEL) == "true"
    return not skips and LEADER_ANNOTATION not in meta.annotations_of(endpoints)


def plan(endpoints: Mapping[str, Any], existing: Sequence[Object]) -> Actions:
    """From the Endpoints and the slices that mirror them, what to write."""
    groups: dict[str, dict[bytes, Group]] = {"IPv4": {}, "IPv6": {}}
    for subset in endpoints.get("subsets") or ():
        ports = [_port(port) for port in subset.get("ports") or ()]
        ready = [(address, True) for address in subset.get("addresses") or ()]
        unready = [(address, False) for address in subset.get("notReadyAddresses") or ()]
        for address, is_ready in (*ready, *unready)[:ADDRESSES_PER_SUBSET]:
            endpoint = _endpoint(address, is_ready)
            family = members.family(endpoint["addresses"][0])
            group = groups[family].setdefault(packing.ports_key(ports), Group(_template(endpoints, ports, family), {}))
            group.endpoints[packing.identity(endpoint)] = endpoint
    create: list[Object] = []
    update: list[Object] = []
    delete = [one for one in existing if EndpointSliceView(one).address_type not in groups]
    for family, wanted in groups.items():
        present = [one for one in existing if EndpointSliceView(one).address_type == family]
        part = packing.plan(endpoints, present, wanted, ADDRESSES_PER_SUBSET)
        create += part.create
        update += part.update
        delete += part.delete
    return Actions(tuple(create), tuple(update), tuple(delete))


def _endpoint(address: Mapping[str, Any], ready: bool) -> Object:
    endpoint: Object = {"addresses": [str(ip_address(address["ip"]))], "conditions": {"ready": ready}}
    for name in ("hostname", "nodeName", "targetRef"):
        if address.get(name):
            endpoint[name] = address[name]
    return endpoint


def _port(port: Mapping[str, Any]) -> Object:
    mirrored = {"name": port.get("name", ""), "port": port["port"], "protocol": port.get("protocol", "TCP")}
    if port.get("appProtocol") is not None:
        mirrored["appProtocol"] = port["appProtocol"]
    return mirrored


def _template(endpoints: Mapping[str, Any], ports: Sequence[Object], family: str) -> Object:
    name = meta.name_of(endpoints)
    annotations = {key: value for key, value in meta.annotations_of(endpoints).items() if key not in NOT_COPIED}
    labels = {**meta.labels_of(endpoints), SERVICE_NAME_LABEL: name, MANAGED_BY_LABEL: MANAGED_BY}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{name}-"[:NAME_LENGTH],
            "namespace": meta.namespace_of(endpoints),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [meta.controller_reference(endpoints, ENDPOINTS)],
        },
        "addressType": family,
        "endpoints": [],
        "ports": list(ports),
    }
