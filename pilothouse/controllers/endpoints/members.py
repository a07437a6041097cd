"""What of a pod and a Service matters to endpoints. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.views.pod import PodView
from pilothouse.api.views.service import ServiceView

HEADLESS_LABEL = "service.kubernetes.io/headless"


def wants_endpoints(service: Mapping[str, Any]) -> bool:
    """Whether controllers write the Service's endpoints; otherwise its user does."""
    view = ServiceView(service)
    return bool(view.selector) and view.type != "ExternalName"


def selects(service: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    selector, labels = ServiceView(service).selector, meta.labels_of(pod)
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def is_member(pod: Mapping[str, Any], *, also_terminating: bool) -> bool:
    """Whether a selected pod has a place in the endpoints: it has an address and has not ended."""
    view = PodView(pod)
    if view.is_terminal or not view.pod_ip:
        return False
    return also_terminating or not view.is_deleting


def traits(pod: Mapping[str, Any]) -> tuple[Any, ...]:
    """Everything of a pod that endpoints depend on: as long as it stays the same nothing has to be done."""
    view = PodView(pod)
    return (
        view.labels,
        view.is_deleting,
        view.is_terminal,
        view.is_ready,
        addresses(pod),
        view.node_name,
        view.spec.get("hostname"),
        view.spec.get("subdomain"),
    )


def addresses(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """The pod's addresses in canonical form, the primary one first."""
    view = PodView(pod)
    given = [entry["ip"] for entry in view.status.get("podIPs") or ()] or ([view.pod_ip] if view.pod_ip else [])
    return tuple(str(ip_address(address)) for address in given)


def family(address: str) -> str:
    """`IPv4` or `IPv6`."""
    return "IPv6" if ":" in address else "IPv4"


def families(service: Mapping[str, Any]) -> tuple[str, ...]:
    """The address families that the Service wants endpoints in."""
    view = ServiceView(service)
    if view.ip_families:
        return tuple(view.ip_families)
    if view.cluster_ip and not view.is_headless:
        return (family(view.cluster_ip),)
    return ("IPv4", "IPv6")


def ports(service: Mapping[str, Any], pod: Mapping[str, Any]) -> list[Object]:
    """The Service's ports as this pod serves them; a named port that the pod lacks is left out."""
    found = []
    for port in ServiceView(service).ports:
        number = target_port(pod, port)
        if number is not None:
            entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol") is not None:
                entry["appProtocol"] = port["appProtocol"]
            found.append(entry)
    return found


def target_port(pod: Mapping[str, Any], port: Mapping[str, Any]) -> int | None:
    """The container port that a Service's port leads to; None if the pod has none of that name and protocol."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    view = PodView(pod)
    sidecars = (one for one in view.init_containers if one.get("restartPolicy") == "Always")
    for container in (*view.containers, *sidecars):
        for declared in container.get("ports") or ():
            if declared.get("name") == target and declared.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(declared["containerPort"])
    return None


def hostname(pod: Mapping[str, Any], service: Mapping[str, Any]) -> str:
    """The name that the pod has under the Service's; empty if it has none."""
    spec = PodView(pod).spec
    return str(spec.get("hostname", "")) if spec.get("subdomain") == meta.name_of(service) else ""


def target_reference(pod: Mapping[str, Any]) -> Object:
    return {"kind": "Pod", "namespace": meta.namespace_of(pod), "name": meta.name_of(pod), "uid": meta.uid_of(pod)}
