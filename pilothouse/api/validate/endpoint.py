"""Endpoints and EndpointSlices. Source: `pkg/apis/core/validation/validation.go`, `pkg/apis/discovery/validation`."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, duplicate, invalid, required, too_many
from pilothouse.api.validate.container import PROTOCOLS
from pilothouse.api.validate.metadata import check_labels
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_address,
    check_canonical_address,
    check_choice,
    check_immutable_field,
    check_name,
    check_required_choice,
    parse_address,
)

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ENDPOINTS, _MAX_PORTS, _MAX_ADDRESSES, _MAX_TOPOLOGY, _MAX_HINTS = 1000, 20000, 100, 16, 8


def check_endpoint_address(value: str, path: Path, errors: Errors) -> None:
    """An address at which traffic can arrive from elsewhere: not loopback, link-local or unspecified."""
    address = parse_address(value)
    if address is None:
        errors.append(invalid(path, value, "must be a valid IP address"))
        return
    if address.is_unspecified:
        errors.append(invalid(path, value, f"may not be unspecified ({value})"))
    if address.is_loopback:
        errors.append(invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        errors.append(invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if address.is_multicast and str(address).startswith(("224.0.0.", "ff02:")):
        text = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.append(invalid(path, value, text))


def validate_endpoints(endpoints: Part) -> list[FieldError]:
    errors: Errors = []
    for i, subset in enumerate(endpoints.get("subsets") or ()):
        here = Path("subsets").index(i)
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(here, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                _check_subset_address(address, here.child(field).index(j), errors)
        ports = subset.get("ports") or ()
        for j, port in enumerate(ports):
            _check_subset_port(port, len(ports) > 1, here.child("ports").index(j), errors)
    return errors


def _check_subset_address(address: Part, path: Path, errors: Errors) -> None:
    value = address.get("ip", "")
    check_address(value, path.child("ip"), errors)
    if hostname := address.get("hostname"):
        check_name(names.dns_label, hostname, path.child("hostname"), errors)
    if "nodeName" in address:
        check_name(names.dns_subdomain, address["nodeName"], path.child("nodeName"), errors)
    check_endpoint_address(value, path.child("ip"), errors)


def _check_subset_port(port: Part, needs_name: bool, path: Path, errors: Errors) -> None:
    if name := port.get("name"):
        check_name(names.dns_label, name, path.child("name"), errors)
    elif needs_name:
        errors.append(required(path.child("name")))
    check_name(names.port_number, port.get("port", 0), path.child("port"), errors)
    check_required_choice(port, "protocol", PROTOCOLS, path, errors)
    if "appProtocol" in port:
        check_name(names.label_key, port["appProtocol"], path.child("appProtocol"), errors)


def validate_endpoint_slice(slice_: Part) -> list[FieldError]:
    errors: Errors = []
    check_required_choice(slice_, "addressType", _ADDRESS_TYPES, Path(), errors)
    _check_ports(slice_.get("ports") or (), errors)
    endpoints = slice_.get("endpoints") or ()
    if len(endpoints) > _MAX_ENDPOINTS:
        errors.append(too_many(Path("endpoints"), len(endpoints), _MAX_ENDPOINTS))
        return errors
    for i, endpoint in enumerate(endpoints):
        _check_endpoint(endpoint, slice_.get("addressType", ""), Path("endpoints").index(i), errors)
    return errors


def validate_endpoint_slice_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    check_immutable_field(new, old, "addressType", Path(), errors)
    return errors


def _check_ports(ports: Sequence[Part], errors: Errors) -> None:
    if len(ports) > _MAX_PORTS:
        errors.append(too_many(Path("ports"), len(ports), _MAX_PORTS))
        return
    seen: set[str] = set()
    for i, port in enumerate(ports):
        here, name = Path("ports").index(i), port.get("name", "")
        if name:
            check_name(names.dns_label, name, here.child("name"), errors)
        if name in seen:
            errors.append(duplicate(here.child("name"), name))
        seen.add(name)
        check_choice(port.get("protocol", ""), PROTOCOLS, here.child("protocol"), errors)
        if "appProtocol" in port:
            check_name(names.label_key, port["appProtocol"], here.child("appProtocol"), errors)


def _check_endpoint(endpoint: Part, kind: str, path: Path, errors: Errors) -> None:
    addresses, here = endpoint.get("addresses") or (), path.child("addresses")
    if not addresses:
        errors.append(required(here, "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        errors.append(too_many(here, len(addresses), _MAX_ADDRESSES))
    for i, address in enumerate(addresses):
        if kind == "FQDN":
            _check_domain(address, here.index(i), errors)
        elif kind in _ADDRESS_TYPES:
            _check_slice_address(address, kind, here, i, errors)
    if "nodeName" in endpoint:
        check_name(names.dns_subdomain, endpoint["nodeName"], path.child("nodeName"), errors)
    if topology := endpoint.get("deprecatedTopology"):
        if len(topology) > _MAX_TOPOLOGY:
            errors.append(too_many(path.child("deprecatedTopology"), len(topology), _MAX_TOPOLOGY))
        check_labels(topology, path.child("deprecatedTopology"), errors)
    if "hostname" in endpoint:
        check_name(names.dns_label, endpoint["hostname"], path.child("hostname"), errors)
    if hints := endpoint.get("hints"):
        _check_hints(hints, path.child("hints"), errors)


def _check_slice_address(address: str, kind: str, path: Path, i: int, errors: Errors) -> None:
    count = len(errors)
    if kind == "IPv4":
        check_address(address, path.index(i), errors)
    else:
        check_canonical_address(address, path.index(i), errors)
    if len(errors) != count:
        return
    parsed = parse_address(address)
    if parsed is not None and kind != f"IPv{parsed.version}":
        errors.append(invalid(path, address, f"must be an {kind} address"))
    check_endpoint_address(address, path.index(i), errors)


def _check_domain(name: str, path: Path, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
        return
    domain = name.removesuffix(".")
    if messages := names.dns_subdomain(domain):
        errors.append(invalid(path, domain, ",".join(messages)))
    elif "." not in domain:
        errors.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    else:
        for label in domain.split("."):
            if messages := names.dns_label(label):
                errors.append(invalid(path, label, ",".join(messages)))
                return


def _check_hints(hints: Part, path: Path, errors: Errors) -> None:
    for field, rule in (("forZones", names.label_value), ("forNodes", names.dns_subdomain)):
        listed = hints.get(field) or ()
        if len(listed) > _MAX_HINTS:
            errors.append(too_many(path.child(field), len(listed), _MAX_HINTS))
            return
        seen: set[str] = set()
        for i, hint in enumerate(listed):
            here, name = path.child(field).index(i).child("name"), hint.get("name", "")
            if name in seen:
                errors.append(duplicate(here, name))
            seen.add(name)
            check_name(rule, name, here, errors)
