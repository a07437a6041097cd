"""Services. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.container import PROTOCOLS
from pilothouse.api.validate.endpoint import check_endpoint_address
from pilothouse.api.validate.metadata import check_labels
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import (
    IMMUTABLE,
    Errors,
    Part,
    check_address,
    check_choice,
    check_cidr,
    check_name,
    check_port_or_name,
    check_required_choice,
    parse_address,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_POLICIES = ("Cluster", "Local")
_LONGEST_AFFINITY_S = 86400
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_ONLY_BALANCERS = "may only be used when `type` is 'LoadBalancer'"
_PORT = {"Name": "", "Protocol": "", "AppProtocol": None, "Port": 0, "TargetPort": 0, "NodePort": 0}
_SPEC = Path("spec")
_ANNOTATIONS = Path("metadata.annotations")


def validate_service(service: Part) -> list[FieldError]:
    """Faults in a Service; its addresses and ports have been allocated by then."""
    errors: Errors = []
    annotations = service["metadata"].get("annotations") or {}
    spec = service.get("spec") or {}
    if _HINTS in annotations and annotations.get(_MODE, annotations[_HINTS]) != annotations[_HINTS]:
        text = f"must match annotations[{_HINTS}] when both are specified"
        errors.append(invalid(_ANNOTATIONS.key(_MODE), annotations[_MODE], text))
    _check_type(spec, errors)
    ports = spec.get("ports") or ()
    _check_ports(ports, spec, errors)
    if selector := spec.get("selector"):
        check_labels(selector, _SPEC.child("selector"), errors)
    _check_affinity(spec, errors)
    if spec.get("type") != "ExternalName":
        check_addresses(spec, errors)
    for i, address in enumerate(spec.get("externalIPs") or ()):
        here, count = _SPEC.child("externalIPs").index(i), len(errors)
        check_address(address, here, errors)
        if len(errors) == count:
            check_endpoint_address(address, here, errors)
    check_required_choice(spec, "type", _TYPES, _SPEC, errors)
    _check_port_collisions(ports, spec, errors)
    _check_balancer(spec, annotations, errors)
    _check_traffic(spec, errors)
    return errors


def _is_headless(spec: Part) -> bool:
    return bool(spec.get("clusterIPs") == ["None"])


def _check_type(spec: Part, errors: Errors) -> None:
    kind, headless = spec.get("type"), _is_headless(spec)
    if not spec.get("ports") and not headless and kind != "ExternalName":
        errors.append(required(_SPEC.child("ports")))
    if kind in ("LoadBalancer", "NodePort") and headless:
        text = f"may not be set to 'None' for {kind} services"
        errors.append(invalid(_SPEC.child("clusterIPs").index(0), "None", text))
    if kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) or (field == "ipFamilyPolicy" and field in spec):
                errors.append(field_forbidden(_SPEC.child(field), "may not be set for ExternalName services"))
        name = spec.get("externalName", "").removesuffix(".")
        if not name:
            errors.append(required(_SPEC.child("externalName")))
        else:
            check_name(names.dns_subdomain, name, _SPEC.child("externalName"), errors)


def _check_ports(ports: Sequence[Part], spec: Part, errors: Errors) -> None:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        here, name = _SPEC.child("ports").index(i), port.get("name", "")
        if name:
            check_name(names.dns_label, name, here.child("name"), errors)
            if name in seen:
                errors.append(duplicate(here.child("name"), name))
            seen.add(name)
        elif len(ports) > 1:
            errors.append(required(here.child("name")))
        check_name(names.port_number, port.get("port", 0), here.child("port"), errors)
        check_required_choice(port, "protocol", PROTOCOLS, here, errors)
        check_port_or_name(port.get("targetPort", 0), here.child("targetPort"), errors)
        if "appProtocol" in port:
            check_name(names.label_key, port["appProtocol"], here.child("appProtocol"), errors)


def _check_affinity(spec: Part, errors: Errors) -> None:
    check_required_choice(spec, "sessionAffinity", ("ClientIP", "None"), _SPEC, errors)
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    path = _SPEC.child("sessionAffinityConfig")
    if affinity == "None" and config is not None:
        errors.append(field_forbidden(path, "must not be set when session affinity is None"))
    if affinity != "ClientIP":
        return
    text = "when session affinity type is ClientIP"
    client = (config or {}).get("clientIP")
    if config is None:
        errors.append(required(path, text))
    elif client is None:
        errors.append(required(path.child("clientIP"), text))
    elif "timeoutSeconds" not in client:
        errors.append(required(path.child("clientIP", "timeoutSeconds"), text))
    elif not 0 < client["timeoutSeconds"] <= _LONGEST_AFFINITY_S:
        text = f"must be greater than 0 and less than {_LONGEST_AFFINITY_S}"
        errors.append(invalid(path.child("clientIP", "timeoutSeconds"), client["timeoutSeconds"], text))


def check_addresses(spec: Part, errors: Errors, *, kept: Collection[str] = ()) -> None:
    """Cluster addresses, their families and the policy on them; addresses in `kept` were there before and stay allowed."""
    path = _SPEC.child("clusterIPs")
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if address and not addresses:
        errors.append(required(path))
    elif address and addresses[0] != address:
        errors.append(invalid(path, addresses, "first value must match `clusterIP`"))
    elif not address and addresses:
        errors.append(invalid(path, addresses, "must be empty when `clusterIP` is not specified"))
    families = spec.get("ipFamilies") or []
    for i, family in enumerate(families):
        check_choice(family, _FAMILIES, _SPEC.child("ipFamilies").index(i), errors)
        if family in families[:i]:
            errors.append(duplicate(_SPEC.child("ipFamilies").index(i), family))
    if "ipFamilyPolicy" in spec:
        check_choice(spec["ipFamilyPolicy"], _FAMILY_POLICIES, _SPEC.child("ipFamilyPolicy"), errors)
    count = len(errors)
    for i, each in enumerate(addresses):
        if i == 0 and each == "None":
            if len(addresses) > 1:
                errors.append(invalid(path, addresses, "'None' must be the first and only value"))
            continue
        check_address(each, path.index(i), errors, kept)
    faulty = len(errors) != count
    if len(addresses) > 2:
        errors.append(invalid(path, addresses, "may only hold up to 2 values"))
    if not faulty and not _is_headless(spec):
        _check_families(addresses, families, path, errors)


def _check_families(addresses: list[str], families: list[str], path: Path, errors: Errors) -> None:
    versions = [parsed.version for each in addresses if (parsed := parse_address(each)) is not None]
    if len(addresses) > 1 and len(set(versions)) < 2:
        errors.append(invalid(path, addresses, "may specify no more than one IP for each IP family"))
    for i, (address, version, family) in enumerate(zip(addresses, versions, families, strict=False)):
        if family in _FAMILIES and family != f"IPv{version}":
            text = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
            errors.append(invalid(path.index(i), address, text))


def _check_port_collisions(ports: Sequence[Part], spec: Part, errors: Errors) -> None:
    node_ports: set[tuple[str, int]] = set()
    own: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        here = _SPEC.child("ports").index(i)
        protocol, node_port, number = port.get("protocol", ""), port.get("nodePort", 0), port.get("port", 0)
        if node_port:
            if spec.get("type") == "ClusterIP":
                errors.append(field_forbidden(here.child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
            if (protocol, node_port) in node_ports:
                errors.append(duplicate(here.child("nodePort"), node_port))
            node_ports.add((protocol, node_port))
        if (protocol, number) in own:
            told = {"protocol": protocol, "port": number}
            errors.append(duplicate(here, shown(told, _PORT)))
        own.add((protocol, number))


def _check_balancer(spec: Part, annotations: Part, errors: Errors) -> None:
    balanced = spec.get("type") == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges:
        path = _SPEC.child("LoadBalancerSourceRanges")
        if not balanced:
            errors.append(field_forbidden(path, _ONLY_BALANCERS))
        for i, each in enumerate(ranges):
            check_cidr(each.strip(), path.index(i), errors)
    elif _SOURCE_RANGES in annotations:
        path = _ANNOTATIONS.key(_SOURCE_RANGES)
        if not balanced:
            errors.append(field_forbidden(path, _ONLY_BALANCERS))
        for each in filter(None, annotations[_SOURCE_RANGES].strip().split(",")):
            check_cidr(each.strip(), path, errors)
    if "allocateLoadBalancerNodePorts" in spec:
        if not balanced:
            errors.append(field_forbidden(_SPEC.child("allocateLoadBalancerNodePorts"), _ONLY_BALANCERS))
    elif balanced:
        errors.append(required(Path("allocateLoadBalancerNodePorts")))
    _check_balancer_class(spec, errors)


def _check_balancer_class(spec: Part, errors: Errors) -> None:
    if "loadBalancerClass" not in spec:
        return
    if spec.get("type") == "LoadBalancer":
        check_name(names.label_key, spec["loadBalancerClass"], _SPEC.child("loadBalancerClass"), errors)
    else:
        errors.append(field_forbidden(_SPEC.child("loadBalancerClass"), _ONLY_BALANCERS))


def _needs_health_check(spec: Part) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _check_traffic(spec: Part, errors: Errors) -> None:
    kind, policy = spec.get("type"), spec.get("externalTrafficPolicy", "")
    reachable = kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    if reachable:
        check_required_choice(spec, "externalTrafficPolicy", _POLICIES, _SPEC, errors)
    elif policy:
        text = "may only be set for externally-accessible services"
        errors.append(invalid(_SPEC.child("externalTrafficPolicy"), policy, text))
    health = spec.get("healthCheckNodePort", 0)
    if _needs_health_check(spec):
        if not health:
            errors.append(required(_SPEC.child("healthCheckNodePort")))
        else:
            check_name(names.port_number, health, _SPEC.child("healthCheckNodePort"), errors)
    elif health:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid(_SPEC.child("healthCheckNodePort"), health, text))
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if kind in ("ClusterIP", "LoadBalancer", "NodePort"):
            errors.append(required(_SPEC.child("internalTrafficPolicy")))
    else:
        check_choice(internal, _POLICIES, _SPEC.child("internalTrafficPolicy"), errors)
    if "trafficDistribution" in spec:
        check_choice(spec["trafficDistribution"], _DISTRIBUTIONS, _SPEC.child("trafficDistribution"), errors)


def validate_service_update(new: Part, old: Part) -> list[FieldError]:
    """The first address, its family and the balancer's class stay as they are once they are set."""
    errors: Errors = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        headless, was_headless = _is_headless(spec), _is_headless(before)
        if not (headless and was_headless):
            _check_kept(spec, before, "clusterIPs", "clusterIP", errors)
        if not headless and not was_headless:
            _check_kept(spec, before, "ipFamilies", "ipFamily", errors)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        now = spec.get("loadBalancerClass")
        if now != before.get("loadBalancerClass"):
            errors.append(invalid(_SPEC.child("loadBalancerClass"), now, "may not change once set"))
    _check_balancer_class(spec, errors)
    checked = _needs_health_check(spec) and _needs_health_check(before)
    if checked and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        errors.append(field_forbidden(_SPEC.child("healthCheckNodePort"), IMMUTABLE))
    return errors


def _check_kept(spec: Part, before: Part, field: str, singular: str, errors: Errors) -> None:
    """The first of a list stays; a second may come or go, and goes only with the policy for one family."""
    now: list[Any] = spec.get(field) or []
    then: list[Any] = before.get(field) or []
    path = _SPEC.child(field)
    if len(now) == len(then):
        errors.extend(
            invalid(path.index(i), now, "may not change once set") for i, each in enumerate(then) if each != now[i]
        )
        return
    if len(then) > len(now) and not now:
        errors.append(invalid(path.index(0), now, f"primary {singular} can not be unset"))
    if now and then and now[0] != then[0]:
        errors.append(invalid(path.index(0), now, "may not change once set"))
    if len(then) > len(now) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        text = f"must be set to 'SingleStack' when releasing the secondary {singular}"
        errors.append(invalid(_SPEC.child("ipFamilyPolicy"), spec.get("ipFamilyPolicy"), text))


def validate_service_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    path = Path("status.loadBalancer.ingress")
    listed = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if listed and (new.get("spec") or {}).get("type") != "LoadBalancer":
        errors.append(field_forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'"))
        return errors
    check_balancer_ingress(listed, path, errors, with_mode=True)
    return errors


def check_balancer_ingress(listed: Sequence[Part], path: Path, errors: Errors, *, with_mode: bool) -> None:
    """Where a balancer takes traffic in. Those of a Service, but not of an Ingress, have a mode."""
    for i, ingress in enumerate(listed):
        here = path.index(i)
        if address := ingress.get("ip"):
            check_address(address, here.child("ip"), errors)
        mode = ingress.get("ipMode")
        if with_mode and mode is None and address:
            errors.append(required(here.child("ipMode"), "must be specified when `ip` is set"))
        elif mode is not None and not address:
            errors.append(field_forbidden(here.child("ipMode"), "may not be specified when `ip` is not set"))
        elif mode is not None and mode not in ("Proxy", "VIP"):
            errors.append(not_supported(here.child("ipMode"), mode, ("Proxy", "VIP")))
        if hostname := ingress.get("hostname"):
            check_name(names.dns_subdomain, hostname, here.child("hostname"), errors)
            if parse_address(hostname) is not None:
                errors.append(invalid(here.child("hostname"), hostname, "must be a DNS name, not an IP address"))
