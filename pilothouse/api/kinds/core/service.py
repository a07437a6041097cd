"""Service. Source: upstream `pkg/registry/core/service/strategy.go`.

Addresses and ports are allocated by the API server; here is what an update keeps of them and what it gives up.
"""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.address_warnings import of_address, of_subnet
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, addresses, at, labels, text, value_of, wide
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, Column, Resource, Subresource
from pilothouse.kit.deferred import Deferred


def needs_cluster_ip(spec: View) -> bool:
    return spec.get("type") != "ExternalName"


def needs_node_port(spec: View) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def needs_health_check_port(spec: View) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_externally_accessible(spec: View) -> bool:
    return needs_node_port(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def _prepare_create(draft: Object) -> None:
    clears_status(gvr.SERVICES)(draft)
    _drop_internal_policy(draft)


def _drop_internal_policy(draft: Object) -> None:
    """A name elsewhere has no traffic of its own; what defaults say of it goes. What is no policy stays, to be refused."""
    spec = draft.get("spec") or {}
    if spec.get("type") == "ExternalName" and spec.get("internalTrafficPolicy") in ("Cluster", "Local"):
        del spec["internalTrafficPolicy"]


def _prepare_update(draft: Object, old: View) -> None:
    spec, before = draft.setdefault("spec", {}), old.get("spec") or {}
    _keep_allocated(spec, before)
    _drop_unneeded(spec, before)
    _drop_internal_policy(draft)
    if spec.get("type") != "LoadBalancer" and "status" in draft:
        draft["status"] = {**draft["status"], "loadBalancer": {}}


def _keep_allocated(spec: Object, before: View) -> None:
    """What the server chose stays where the client says nothing of it."""
    if needs_cluster_ip(before) and needs_cluster_ip(spec):
        for key in ("clusterIP", "clusterIPs"):
            if not spec.get(key) and before.get(key):
                spec[key] = before[key]
    if needs_node_port(before) and needs_node_port(spec):
        taken = _node_ports(before) & _node_ports(spec)
        by_name = {port.get("name", ""): port.get("nodePort", 0) for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            present = by_name.get(port.get("name", ""))
            if not port.get("nodePort") and present and present not in taken:
                port["nodePort"] = present
    needs_port = needs_health_check_port(before) and needs_health_check_port(spec)
    if needs_port and not spec.get("healthCheckNodePort") and before.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]


def _drop_unneeded(spec: Object, before: View) -> None:
    """What the new type has no use for goes, unless the client changed it as well, which validation refuses."""

    def drop(*keys: str) -> None:
        for key in keys:
            if key in spec and spec[key] == before.get(key):
                del spec[key]

    if needs_cluster_ip(before) and not needs_cluster_ip(spec):
        if all(spec.get(key) == before.get(key) for key in ("clusterIP", "clusterIPs")):
            drop("clusterIP", "clusterIPs")
        drop("ipFamilies", "ipFamilyPolicy")
    if needs_node_port(before) and not needs_node_port(spec) and _node_ports(spec) == _node_ports(before):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_check_port(before) and not needs_health_check_port(spec):
        drop("healthCheckNodePort")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        drop("allocateLoadBalancerNodePorts", "loadBalancerClass")
    if is_externally_accessible(before) and not is_externally_accessible(spec):
        drop("externalTrafficPolicy")


def _node_ports(spec: View) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _external_ip(service: View, now: float) -> str:
    spec = service.get("spec") or {}
    external = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            balanced = addresses(at(service, "status", "loadBalancer", "ingress"))
            return ",".join([*filter(None, [balanced]), *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case _:
            return "<unknown>"


def _cluster_ip(service: View, now: float) -> str:
    found = at(service, "spec", "clusterIPs")
    return str(found[0]) if found else NONE


def _ports(service: View, now: float) -> str:
    pieces = []
    for port in at(service, "spec", "ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        pieces.append(f"{port['port']}{node_port}/{port.get('protocol', '')}")
    return ",".join(pieces) or NONE


def _warnings(service: View) -> list[str]:
    spec = service.get("spec") or {}
    found: list[str] = []
    if "service.kubernetes.io/topology-aware-hints" in (service["metadata"].get("annotations") or {}):
        found.append(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, "
            "please use service.kubernetes.io/topology-mode instead"
        )
    type_ = spec.get("type")
    for i, address in enumerate(spec.get("clusterIPs") or ()):
        found += of_address(address, f"spec.clusterIPs[{i}]")
    is_headless = type_ == "ClusterIP" and spec.get("clusterIP") == "None"
    if is_headless:
        ignored = {
            "spec.loadBalancerIP": spec.get("loadBalancerIP"),
            "spec.externalIPs": spec.get("externalIPs"),
            "spec.SessionAffinity": spec.get("sessionAffinity", "None") != "None",
        }
        found += [f"{name} is ignored for headless services" for name, given in ignored.items() if given]
    external = spec.get("externalIPs") or ()
    for i, address in enumerate(external):
        found += of_address(address, f"spec.externalIPs[{i}]")
    if external and not is_headless and type_ != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if address := spec.get("loadBalancerIP"):
        found += of_address(address, "spec.loadBalancerIP")
    for i, subnet in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += of_subnet(subnet, f"spec.loadBalancerSourceRanges[{i}]")
    if external and type_ == "ExternalName":
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("externalName") and type_ != "ExternalName":
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


SERVICE = Resource(
    gvr.SERVICES,
    short_names=("svc",),
    categories=("all",),
    subresources=(
        Subresource(
            "proxy",
            ("create", "delete", "get", "patch", "update"),
            kind="ServiceProxyOptions",
            version="v1",
            passes_methods=True,
        ),
        STATUS,
    ),
    name_rule="dns-label",
    has_generation=False,
    selectable={"spec.clusterIP": value_of("spec", "clusterIP"), "spec.type": value_of("spec", "type")},
    columns=(
        NAME,
        text("Type", "spec", "type", description="How the Service is reached."),
        Column("Cluster-IP", _cluster_ip, description="Its address inside the cluster."),
        Column("External-IP", _external_ip, description="Its addresses outside."),
        Column("Port(s)", _ports, description="Its ports, with node ports and protocols."),
        AGE,
        wide("Selector", lambda service: labels(at(service, "spec", "selector")), "Which pods serve it."),
    ),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    create_on_update=True,
    returns_deleted=True,
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
    validate=Deferred("pilothouse.api.validate.service", "validate_service"),
    validate_update=Deferred("pilothouse.api.validate.service", "validate_service_update"),
    validate_status_update=Deferred("pilothouse.api.validate.service", "validate_service_status_update"),
)
