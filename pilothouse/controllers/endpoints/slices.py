"""Deciding a Service's EndpointSlices.

Endpoints with the same ports share slices of at most `limit`. A change touches as few slices as it can: endpoints stay where they
are, new ones go where something changes anyway, then into the slice that they fill best, then into a new one. A Service without any
endpoint keeps one empty slice. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

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
from pilothouse.controllers.endpoints import members

MANAGED_BY = "endpointslice-controller.k8s.io"
ZONE_LABEL = "topology.kubernetes.io/zone"
RESERVED_LABELS = frozenset({SERVICE_NAME_LABEL, MANAGED_BY_LABEL, members.HEADLESS_LABEL})
NAME_LENGTH = 253


@dataclass(frozen=True, slots=True)
class Actions:
    """Slices to write. `missing_nodes` names nodes that pods are said to run on and that do not exist (yet)."""

    create: tuple[Object, ...] = ()
    update: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    missing_nodes: tuple[str, ...] = ()


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
    owned: dict[bytes, list[Object]] = {}
    delete: list[Object] = []
    for one in existing:
        if _is_owned(one, service):
            owned.setdefault(_ports_key(EndpointSliceView(one).ports), []).append(one)
        else:
            delete.append(one)
    groups: dict[bytes, tuple[list[Object], dict[tuple[Any, ...], Object]]] = {}
    for pod in pods:
        ports = members.ports(service, pod)
        endpoint = endpoint_of(service, pod, nodes.get(PodView(pod).node_name), family)
        _, wanted = groups.setdefault(_ports_key(ports), (ports, {}))
        if endpoint["addresses"]:
            wanted[_identity(endpoint)] = endpoint
    create: list[Object] = []
    update: list[Object] = []
    for key, (ports, wanted) in groups.items():
        packed = _pack(service, owned.pop(key, []), wanted, _template(service, ports, family), limit)
        create += packed.create
        update += packed.update
        delete += packed.delete
    delete += [one for slices in owned.values() for one in slices]
    if len(delete) == len(existing) and not create:
        placeholder = _template(service, [], family)
        if len(delete) == 1 and _is_placeholder(delete[0], placeholder):
            delete = []
        else:
            create = [placeholder]
    return _reuse(service, create, update, delete)


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


def _pack(
    service: Mapping[str, Any],
    existing: Sequence[Object],
    wanted: dict[tuple[Any, ...], Object],
    template: Object,
    limit: int,
) -> Actions:
    left = dict(wanted)
    unchanged: list[Object] = []
    changed: list[Object] = []
    delete: list[Object] = []
    for one in existing:
        before = EndpointSliceView(one).endpoints
        kept = [endpoint for old in before if (endpoint := left.pop(_identity(old), None)) is not None]
        labels = _labels(service)
        if not kept and before:
            delete.append(one)
        elif kept != list(before) or labels != meta.labels_of(one):
            changed.append(_with(one, kept, labels))
        else:
            unchanged.append(one)
    rest = list(left.values())
    for one in sorted(changed, key=lambda one: -len(one["endpoints"])):
        room = limit - len(one["endpoints"])
        one["endpoints"] += rest[:room]
        rest = rest[room:]
    create: list[Object] = []
    while rest:
        fit = _best_fit(unchanged, len(rest), limit)
        if fit is not None:
            unchanged.remove(fit)
            changed.append(_with(fit, [*EndpointSliceView(fit).endpoints, *rest], _labels(service)))
            break
        create.append({**template, "endpoints": rest[:limit]})
        rest = rest[limit:]
    return Actions(tuple(create), tuple(changed), tuple(delete))


def _best_fit(slices: Sequence[Object], count: int, limit: int) -> Object | None:
    """The slice that has room for all of `count` and is then the fullest."""
    fitting = [one for one in slices if len(EndpointSliceView(one).endpoints) + count <= limit]
    return max(fitting, key=lambda one: len(EndpointSliceView(one).endpoints), default=None)


def _reuse(service: Mapping[str, Any], create: list[Object], update: list[Object], delete: list[Object]) -> Actions:
    """Write into slices that would be deleted, rather than deleting them and creating others."""
    spare = [one for one in delete if _is_owned(one, service)]
    for one in spare:
        if not create:
            break
        fresh = create.pop()
        metadata = {**one["metadata"], "labels": fresh["metadata"]["labels"]}
        update.append({**fresh, "metadata": metadata})
        delete.remove(one)
    return Actions(tuple(create), tuple(update), tuple(delete))


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


def _with(one: Object, endpoints: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> Object:
    return {**one, "metadata": {**one["metadata"], "labels": dict(labels)}, "endpoints": list(endpoints)}


def _is_owned(one: Object, service: Mapping[str, Any]) -> bool:
    uid = meta.uid_of(service)
    return any(owner["uid"] == uid and owner["kind"] == SERVICES.kind for owner in meta.owners_of(one))


def _is_placeholder(one: Object, placeholder: Object) -> bool:
    view = EndpointSliceView(one)
    return (
        not view.endpoints
        and not view.ports
        and view.labels == placeholder["metadata"]["labels"]
        and meta.owners_of(one) == placeholder["metadata"]["ownerReferences"]
    )


def _ports_key(ports: Sequence[Mapping[str, Any]]) -> bytes:
    rows = sorted(
        (port.get("name") or "", port.get("port") or 0, port.get("protocol", "TCP"), port.get("appProtocol") or "")
        for port in ports
    )
    return orjson.dumps(rows)


def _identity(endpoint: Mapping[str, Any]) -> tuple[Any, ...]:
    target = endpoint.get("targetRef") or {}
    addresses = tuple(sorted(endpoint.get("addresses") or ()))
    return (addresses, endpoint.get("hostname", ""), target.get("namespace", ""), target.get("name", ""))
