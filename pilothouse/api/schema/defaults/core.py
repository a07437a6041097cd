"""Defaults of the core group's other kinds that depend on other fields."""

from __future__ import annotations

import base64
from collections.abc import Callable

from pilothouse.api.meta import Object

CLIENT_IP_AFFINITY_S = 10800


def _config_map(config_map: Object) -> None:
    """An empty map of data is not written; nothing to fill in."""
    if config_map.get("data") == {}:
        del config_map["data"]


def _secret(secret: Object) -> None:
    """`stringData` is written into `data`; it is never read back."""
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _namespace(namespace: Object) -> None:
    metadata = namespace.get("metadata") or {}
    if name := metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}


def _node_status(status: Object) -> None:
    if "allocatable" not in status and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])


def _node_spec(spec: Object) -> None:
    """`podCIDR` is the first of `podCIDRs`; where they differ, `podCIDR` is right."""
    cidr, cidrs = spec.get("podCIDR"), spec.get("podCIDRs")
    if cidr and (not cidrs or cidrs[0] != cidr):
        spec["podCIDRs"] = [cidr]
    elif cidrs and not cidr:
        spec["podCIDR"] = cidrs[0]


def _limit_range_item(item: Object) -> None:
    if item.get("type") != "Container":
        return
    default = {**item.get("max", {}), **item.get("default", {})}
    request = {**item.get("min", {}), **default, **item.get("defaultRequest", {})}
    if default:
        item["default"] = default
    if request:
        item["defaultRequest"] = request


def _persistent_volume(volume: Object) -> None:
    volume.setdefault("status", {}).setdefault("phase", "Pending")


def _persistent_volume_claim(claim: Object) -> None:
    claim.setdefault("status", {}).setdefault("phase", "Pending")


def _replication_controller(controller: Object) -> None:
    spec = controller.get("spec") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        metadata = controller.setdefault("metadata", {})
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)


def _service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    affinity = spec.setdefault("sessionAffinity", "None")
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if client_ip.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": CLIENT_IP_AFFINITY_S}}
    type_ = spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    is_external = type_ in ("LoadBalancer", "NodePort") or (type_ == "ClusterIP" and spec.get("externalIPs"))
    if is_external and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if type_ in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if type_ == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress", ()):
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


RULES: dict[str, tuple[Callable[[Object], None], ...]] = {
    "core.v1.ConfigMap": (_config_map,),
    "core.v1.LimitRangeItem": (_limit_range_item,),
    "core.v1.Namespace": (_namespace,),
    "core.v1.NodeSpec": (_node_spec,),
    "core.v1.NodeStatus": (_node_status,),
    "core.v1.PersistentVolume": (_persistent_volume,),
    "core.v1.PersistentVolumeClaim": (_persistent_volume_claim,),
    "core.v1.ReplicationController": (_replication_controller,),
    "core.v1.Secret": (_secret,),
    "core.v1.Service": (_service,),
}
