"""Deciding a Service's EndpointSlices from its pods. A Service without any endpoint keeps one empty slice. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import ENDPOINT_SLICES, SERVICES
from pilothouse.api.meta import Object
from pilothouse.api.views.endpoint_slice import (
    MANAGED_BY_LABEL,
    SERVICE_NAME_LABEL,
    EndpointSliceView,
    is_ready,
)
from pilothouse.api.views.pod import PodView
from pilothouse.api.views.service import ServiceView
from pilothouse.controllers.endpoints import members, packing
from pilothouse.controllers.endpoints.packing import Actions, Group

MANAGED_BY = "endpointslice-controller.k8s.io"
ZONE_LABEL = "topology.kubernetes.io/zone"
RESERVED_LABELS = frozenset({SERVICE_NAME_LABEL, MANAGED_BY_LABEL, members.HEADLESS_LABEL})
NAME_LENGTH = 253


def plan(
    service: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
    existing: Sequence[Object],
    limit: int,
) -> Actions:
    """From the pods that `service` selects, the nodes by name, and the slices that exist, what to write."""
    families = members.families(service)
    pods = sorted((pod for pod in pods if members.is_member(pod, also_terminating=True)), key=meta.name_of)
    missing = set()
    if not ServiceView(service).publishes_not_ready:
        missing = {node for pod in pods if (node := PodView(pod).node_name) not in nodes}
        pods = [pod for pod in pods if PodView(pod).node_name not in missing]
    create: list[Object] = []
    update: list[Object] = []
    delete = [one for one in existing if EndpointSliceView(one).address_type not in families]
    for family in families:
        present = [one for one in existing if EndpointSliceView(one).address_type == family]
        part = _plan_family(service, pods, nodes, present, family, limit)
        create += part.create
        update += part.update
        delete += part.delete
    if meta.is_deleting(service):
        create = []
    return Actions(tuple(create), tuple(update), tuple(delete), tuple(sorted(missing)))


def _plan_family(
    service: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
    existing: Sequence[Object],
    family: str,
    limit: int,
) -> Actions:
    groups: dict[bytes, Group] = {}
    for pod in pods:
        ports = members.ports(service, pod)
        endpoint = endpoint_of(service, pod, nodes.get(PodView(pod).node_name), family)
        key = packing.ports_key(ports)
        if key not in groups:
            groups[key] = Group(_template(service, ports, family), {})
        if endpoint["addresses"]:
            groups[key].endpoints[packing.identity(endpoint)] = endpoint
    return packing.plan(service, existing, groups, limit, _template(service, [], family))


def endpoint_of(
    service: Mapping[str, Any], pod: Mapping[str, Any], node: Mapping[str, Any] | None, family: str
) -> Object:
    """The pod as an endpoint of that family, with hints if the Service wants traffic to stay near."""
    view = PodView(pod)
    serving, terminating = view.is_ready, view.is_deleting
    publishes = ServiceView(service).publishes_not_ready
    endpoint: Object = {
        "addresses": [address for address in members.addresses(pod) if members.family(address) == family],
        "conditions": {
            "ready": publishes or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": members.target_reference(pod),
    }
    if view.node_name:
        endpoint["nodeName"] = view.node_name
    if node is not None and (zone := meta.labels_of(node).get(ZONE_LABEL)):
        endpoint["zone"] = zone
    if hostname := members.hostname(pod, service):
        endpoint["hostname"] = hostname
    if hints := _hints(service, endpoint):
        endpoint["hints"] = hints
    return endpoint


def _hints(service: Mapping[str, Any], endpoint: Mapping[str, Any]) -> Object:
    distribution = ServiceView(service).spec.get("trafficDistribution")
    hints: Object = {}
    if not is_ready(endpoint) or distribution not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return hints
    if "zone" in endpoint:
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if "nodeName" in endpoint and distribution == "PreferSameNode":
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


def _template(service: Mapping[str, Any], ports: Sequence[Object], family: str) -> Object:
    name = meta.name_of(service)
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{name}-"[:NAME_LENGTH],
            "namespace": meta.namespace_of(service),
            "labels": _labels(service),
            "ownerReferences": [meta.controller_reference(service, SERVICES)],
        },
        "addressType": family,
        "endpoints": [],
        "ports": list(ports),
    }


def _labels(service: Mapping[str, Any]) -> dict[str, str]:
    """The Service's own labels and those that say whose slice it is."""
    labels = {name: value for name, value in meta.labels_of(service).items() if name not in RESERVED_LABELS}
    if not ServiceView(service).cluster_ips:
        labels[members.HEADLESS_LABEL] = ""
    return {**labels, SERVICE_NAME_LABEL: meta.name_of(service), MANAGED_BY_LABEL: MANAGED_BY}
