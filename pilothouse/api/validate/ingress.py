"""Ingresses, IngressClasses and NetworkPolicies. Source: `pkg/apis/networking/validation`."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.service import check_balancer_ingress
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_cidr,
    check_domain_prefixed_path,
    check_immutable_field,
    check_name,
    check_required_name,
    parse_address,
)

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_SPEC = Path("spec")


def validate_ingress(ingress: Part) -> list[FieldError]:
    errors: Errors = []
    spec, metadata = ingress.get("spec") or {}, ingress["metadata"]
    backend, rules, chosen = spec.get("defaultBackend"), spec.get("rules") or (), spec.get("ingressClassName")
    if not rules and backend is None:
        errors.append(invalid(_SPEC, None, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        _check_backend(backend, _SPEC.child("defaultBackend"), errors)
    for i, rule in enumerate(rules):
        _check_rule(rule, _SPEC.child("rules").index(i), errors)
    for i, tls in enumerate(spec.get("tls") or ()):
        here = _SPEC.child("tls").index(i)
        for j, host in enumerate(tls.get("hosts") or ()):
            check_name(_host_rule(host), host, here.child("hosts").index(j), errors)
        if secret := tls.get("secretName"):
            check_name(names.dns_subdomain, secret, here.child("secretName"), errors)
    if chosen is not None:
        check_name(names.dns_subdomain, chosen, _SPEC.child("ingressClassName"), errors)
        annotation = (metadata.get("annotations") or {}).get(_CLASS_ANNOTATION, chosen)
        if "resourceVersion" not in metadata and annotation != chosen:
            text = "must match `ingressClassName` when both are specified"
            errors.append(invalid(Path("annotations").child(_CLASS_ANNOTATION), annotation, text))
    return errors


def _host_rule(host: str) -> names.Rule:
    return names.dns_wildcard if "*" in host else names.dns_subdomain


def _check_rule(rule: Part, path: Path, errors: Errors) -> None:
    if host := rule.get("host"):
        if parse_address(host) is not None:
            errors.append(invalid(path.child("host"), host, "must be a DNS name, not an IP address"))
        check_name(_host_rule(host), host, path.child("host"), errors)
    http = rule.get("http")
    if http is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        errors.append(required(path.child("http", "paths")))
    for i, each in enumerate(paths):
        _check_path(each, path.child("http", "paths").index(i), errors)


def _check_path(part: Part, path: Path, errors: Errors) -> None:
    kind, value = part.get("pathType"), part.get("path", "")
    here = path.child("path")
    if kind is None:
        errors.append(required(path.child("pathType"), "pathType must be specified"))
        return
    if kind not in _PATH_TYPES:
        errors.append(not_supported(path.child("pathType"), kind, _PATH_TYPES))
    elif not value.startswith("/") and (value or kind != "ImplementationSpecific"):
        errors.append(invalid(here, value, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        errors.extend(invalid(here, value, f"must not contain '{each}'") for each in _BAD_SEQUENCES if each in value)
        errors.extend(invalid(here, value, f"cannot end with '{each}'") for each in _BAD_ENDS if value.endswith(each))
    _check_backend(part.get("backend") or {}, path.child("backend"), errors)


def _check_backend(backend: Part, path: Path, errors: Errors) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        errors.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        _check_reference(resource, path.child("resource"), errors)
    elif service is None:
        errors.append(invalid(path, "", "resource or service backend is required"))
    else:
        check_required_name(names.dns_label, service, "name", path.child("service"), errors)
        port = service.get("port") or {}
        name, number = port.get("name"), port.get("number")
        if name and number:
            errors.append(invalid(path, "", "cannot set both port name & port number"))
        elif name:
            check_name(names.port_name, name, path.child("service", "port", "name"), errors)
        elif number:
            check_name(names.port_number, number, path.child("service", "port", "number"), errors)
        else:
            errors.append(required(path, "port name or number is required"))


def _check_reference(reference: Part, path: Path, errors: Errors) -> None:
    if reference.get("apiGroup") is not None:
        check_name(names.dns_subdomain, reference["apiGroup"], path.child("apiGroup"), errors)
    for field in ("kind", "name"):
        check_required_name(names.path_segment, reference, field, path, errors)


def validate_ingress_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    listed = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    check_balancer_ingress(listed, Path("status.loadBalancer.ingress"), errors, with_mode=False)
    return errors


def validate_ingress_class(ingress_class: Part) -> list[FieldError]:
    errors: Errors = []
    spec = ingress_class.get("spec") or {}
    controller, parameters = spec.get("controller", ""), spec.get("parameters")
    if len(controller) > 250:
        errors.append(too_long(_SPEC.child("controller"), 250))
    check_domain_prefixed_path(controller, _SPEC.child("controller"), errors)
    if parameters is None:
        return errors
    path = _SPEC.child("parameters")
    _check_reference(parameters, path, errors)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        errors.append(required(path.child("scope")))
    elif scope not in ("Cluster", "Namespace"):
        errors.append(not_supported(path.child("scope"), scope, ("Cluster", "Namespace")))
    elif scope == "Cluster" and namespace is not None:
        errors.append(field_forbidden(path.child("namespace"), "`parameters.scope` is set to 'Cluster'"))
    elif scope == "Namespace" and namespace is None:
        errors.append(required(path.child("namespace"), "`parameters.scope` is set to 'Namespace'"))
    elif namespace is not None:
        check_name(names.dns_label, namespace, path.child("namespace"), errors)
    return errors


def validate_ingress_class_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    check_immutable_field(new.get("spec") or {}, old.get("spec") or {}, "controller", _SPEC, errors)
    return errors


def validate_network_policy(policy: Part) -> list[FieldError]:
    errors: Errors = []
    spec = policy.get("spec") or {}
    check_label_selector(spec.get("podSelector"), _SPEC.child("podSelector"), errors)
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            here = _SPEC.child(direction).index(i)
            for j, port in enumerate(rule.get("ports") or ()):
                _check_policy_port(port, here.child("ports").index(j), errors)
            for j, peer in enumerate(rule.get(side) or ()):
                _check_peer(peer, here.child(side).index(j), errors)
    kinds: Sequence[str] = spec.get("policyTypes") or ()
    if len(kinds) > 2:
        errors.append(invalid(_SPEC.child("policyTypes"), kinds, "may not specify more than two policyTypes"))
        return errors
    for i, kind in enumerate(kinds):
        if kind not in ("Ingress", "Egress"):
            errors.append(not_supported(_SPEC.child("policyTypes").index(i), kind, ("Ingress", "Egress")))
    return errors


def _check_policy_port(part: Part, path: Path, errors: Errors) -> None:
    protocol, port, end = part.get("protocol", "TCP"), part.get("port"), part.get("endPort")
    if protocol not in ("TCP", "UDP", "SCTP"):
        errors.append(not_supported(path.child("protocol"), protocol, ("TCP", "UDP", "SCTP")))
    if isinstance(port, int):
        check_name(names.port_number, port, path.child("port"), errors)
        if end is not None:
            if end < port:
                errors.append(invalid(path.child("endPort"), port, "must be greater than or equal to `port`"))
            check_name(names.port_number, end, path.child("endPort"), errors)
        return
    if end is not None:
        why = "specified" if port is None else "non-numeric"
        text = f"may not be specified when `port` is {'not ' if port is None else ''}{why}"
        errors.append(invalid(path.child("endPort"), end, text))
    if port is not None:
        check_name(names.port_name, port, path.child("port"), errors)


def _check_peer(peer: Part, path: Path, errors: Errors) -> None:
    for field in ("podSelector", "namespaceSelector"):
        check_label_selector(peer.get(field), path.child(field), errors)
    if "ipBlock" in peer:
        _check_block(peer["ipBlock"], path.child("ipBlock"), errors)
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if field in peer]
    if not given:
        errors.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        errors.append(field_forbidden(path, "may not specify both ipBlock and another peer"))


def _check_block(block: Part, path: Path, errors: Errors) -> None:
    cidr = block.get("cidr", "")
    if not cidr:
        errors.append(required(path.child("cidr")))
        return
    check_cidr(cidr, path.child("cidr"), errors)
    whole = _network(cidr)
    if whole is None:
        return
    for i, text in enumerate(block.get("except") or ()):
        here = path.child("except").index(i)
        check_cidr(text, here, errors)
        part = _network(text)
        if part is not None and not _is_strict_subset(part, whole):
            errors.append(invalid(here, text, "must be a strict subset of `cidr`"))


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_strict_subset(part: _Network, whole: _Network) -> bool:
    if part.version != whole.version or part.prefixlen <= whole.prefixlen:
        return False
    return part.network_address in whole
