"""Deciding a Service's Endpoints object: addresses grouped by the ports they serve. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import ENDPOINTS
from pilothouse.api.meta import Object
from pilothouse.api.views.pod import PodView
from pilothouse.api.views.service import ServiceView
from pilothouse.controllers.endpoints import members

CAPACITY = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGED_BY = "endpoint-controller"

_Port = tuple[tuple[str, Any], ...]


def plan(service: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], existing: Object | None) -> Object | None:
    """The Endpoints as they should be, or None if `existing` is that already."""
    subsets = subsets_of(service, pods)
    count = sum(len(subset.get("addresses", ())) + len(subset.get("notReadyAddresses", ())) for subset in subsets)
    annotations = dict(meta.annotations_of(existing)) if existing is not None else {}
    annotations.pop(OVER_CAPACITY, None)
    if count > CAPACITY:
        subsets = truncated(subsets)
        annotations[OVER_CAPACITY] = "truncated"
    labels = {**meta.labels_of(service), MANAGED_BY_LABEL: MANAGED_BY}
    labels.pop(members.HEADLESS_LABEL, None)
    if not ServiceView(service).cluster_ips:
        labels[members.HEADLESS_LABEL] = ""
    metadata: Object = {"name": meta.name_of(service), "namespace": meta.namespace_of(service)}
    if existing is not None:
        metadata = dict(existing["metadata"])
        metadata.pop("annotations", None)
    metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    wanted: Object = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind, "metadata": metadata}
    if subsets:
        wanted["subsets"] = subsets
    if existing is not None and _same(existing, wanted):
        return None
    return wanted


def subsets_of(service: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> list[Object]:
    """One subset for each set of addresses, with all ports that exactly these serve; ordered, so that equals are equal."""
    view = ServiceView(service)
    wanted_family = members.families(service)[0]
    by_port: dict[_Port | None, dict[str, tuple[bool, Object]]] = {}
    for pod in sorted(pods, key=meta.name_of):
        if not members.is_member(pod, also_terminating=view.publishes_not_ready):
            continue
        address = next((one for one in members.addresses(pod) if members.family(one) == wanted_family), None)
        if address is None:
            continue
        entry = (view.publishes_not_ready or PodView(pod).is_ready, _address(service, pod, address))
        ports: list[_Port | None] = [tuple(port.items()) for port in _ports(service, pod)]
        if not view.ports and view.is_headless:
            ports = [None]
        for port in ports:
            by_port.setdefault(port, {})[meta.uid_of(pod)] = entry
    groups: dict[tuple[tuple[str, bool], ...], list[_Port]] = {}
    for port, entries in by_port.items():
        group = groups.setdefault(tuple((uid, ready) for uid, (ready, _) in entries.items()), [])
        if port is not None:
            group.append(port)
    everything = {uid: address for entries in by_port.values() for uid, (_, address) in entries.items()}
    return [_subset(group, everything, ports) for group, ports in sorted(groups.items())]


def truncated(subsets: Sequence[Object]) -> list[Object]:
    """At most `CAPACITY` addresses, from every subset its share; those that are not ready go first."""
    ready = sum(len(subset.get("addresses", ())) for subset in subsets)
    name = "addresses" if ready > CAPACITY else "notReadyAddresses"
    room = CAPACITY if ready > CAPACITY else CAPACITY - ready
    total = sum(len(subset.get(name, ())) for subset in subsets)
    left, result = room, []
    for subset in subsets:
        share = min(left, ceil(len(subset.get(name, ())) / total * room))
        left -= share
        cut = {**subset, name: subset.get(name, [])[:share]}
        if name == "addresses":
            cut.pop("notReadyAddresses", None)
        result.append({field: value for field, value in cut.items() if value})
    return result


def _subset(group: tuple[tuple[str, bool], ...], everything: Mapping[str, Object], ports: Sequence[_Port]) -> Object:
    def sorted_addresses(ready: bool) -> list[Object]:
        return sorted((everything[uid] for uid, is_ready in group if is_ready is ready), key=_order)

    subset: Object = {"addresses": sorted_addresses(True), "notReadyAddresses": sorted_addresses(False)}
    subset["ports"] = [dict(port) for port in sorted(ports, key=str)]
    return {name: value for name, value in subset.items() if value}


def _ports(service: Mapping[str, Any], pod: Mapping[str, Any]) -> list[Object]:
    return [{name: value for name, value in port.items() if value != ""} for port in members.ports(service, pod)]


def _address(service: Mapping[str, Any], pod: Mapping[str, Any], address: str) -> Object:
    entry: Object = {"ip": address}
    if hostname := members.hostname(pod, service):
        entry["hostname"] = hostname
    if node := PodView(pod).node_name:
        entry["nodeName"] = node
    entry["targetRef"] = members.target_reference(pod)
    return entry


def _order(address: Object) -> tuple[str, str]:
    return address["ip"], address["targetRef"]["uid"]


def _same(existing: Object, wanted: Object) -> bool:
    return bool(
        (existing.get("subsets") or []) == wanted.get("subsets", [])
        and meta.labels_of(existing) == wanted["metadata"]["labels"]
        and meta.annotations_of(existing) == wanted["metadata"].get("annotations", {})
    )
