"""Claims for devices, their templates, and classes of devices. Source: `pkg/apis/resource/validation`, KEP-4381."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from ipaddress import ip_interface
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import (
    FieldError,
    Path,
    Shown,
    field_forbidden,
    invalid,
    not_supported,
    required,
    shown_struct,
    too_long,
    too_many,
)
from pilothouse.api.validate.device_values import (
    EFFECTS,
    check_attribute_name,
    check_binding,
    check_configuration,
    check_driver_name,
    check_items,
    check_pool_name,
    check_raw,
    check_selectors,
)
from pilothouse.api.validate.metadata import check_conditions, check_label_name, check_template_metadata
from pilothouse.api.validate.resources import is_extended
from pilothouse.api.validate.scheduling import check_node_selector
from pilothouse.api.validate.shown import maybe, shown
from pilothouse.api.validate.values import IMMUTABLE, Errors, Part, check_choice, check_name

_SPEC, _STATUS = Path("spec"), Path("status")
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_MATCH = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_UID_FORM = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
_is_uid = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_is_any_uid = re.compile("(?i)(urn:uuid:|{)?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}}?").fullmatch
_UID_LENGTHS = (32, 36, 38, 45)
_MANY = 32

_TOLERATION = {"Key": "", "Operator": "", "Value": "", "Effect": "", "TolerationSeconds": None}
_ASKED = {"DeviceClassName": "", "Selectors": [{"CEL": maybe({"Expression": ""})}], "AllocationMode": "", "Count": 0}
_MORE = {"Tolerations": [_TOLERATION], "Capacity": maybe({"Requests": None})}
_CLAIM = {
    "Devices": {
        "Requests": [
            {
                "Name": "",
                "Exactly": maybe({**_ASKED, "AdminAccess": None, **_MORE}),
                "FirstAvailable": [{"Name": "", **_ASKED, **_MORE}],
            }
        ],
        "Constraints": [{"Requests": None, "MatchAttribute": None, "DistinctAttribute": None}],
        "Config": [{"Requests": None, "Opaque": maybe({"Driver": "", "Parameters": None})}],
    }
}

Requests = Mapping[str, frozenset[str]]
"""The requests of a claim with the alternatives of each."""


def validate_claim(claim: Part) -> list[FieldError]:
    errors: Errors = []
    _check_claim_spec(claim.get("spec") or {}, _SPEC, errors)
    return errors


def validate_spec_update(new: Part, old: Part) -> list[FieldError]:
    """What is claimed stays for good."""
    spec = new.get("spec")
    return [] if spec == old.get("spec") else [invalid(_SPEC, shown(spec, _CLAIM), IMMUTABLE)]


def validate_template_update(new: Part, old: Part) -> list[FieldError]:
    spec = new.get("spec") or {}
    if spec == old.get("spec"):
        return []
    told = {**(spec.get("metadata") or {}), "Spec": json.loads(shown(spec.get("spec"), _CLAIM).text)}
    return [invalid(_SPEC, shown_struct(told), IMMUTABLE)]


def validate_template(template: Part) -> list[FieldError]:
    errors: Errors = []
    spec = template.get("spec") or {}
    check_template_metadata(spec.get("metadata") or {}, _SPEC.child("metadata"), errors)
    _check_claim_spec(spec.get("spec") or {}, _SPEC.child("spec"), errors)
    return errors


def validate_class(device_class: Part) -> list[FieldError]:
    errors: Errors = []
    spec = device_class.get("spec") or {}
    check_selectors(spec.get("selectors") or (), _SPEC.child("selectors"), errors)
    _check_list(spec, "config", _MANY, check_configuration, _SPEC, errors)
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        text = "must be a valid extended resource name"
        errors.append(invalid(_SPEC.child("extendedResourceName"), name, text))
    return errors


def _check_claim_spec(spec: Part, path: Path, errors: Errors) -> None:
    devices, path = spec.get("devices") or {}, path.child("devices")
    requests = _names(devices)
    _check_list(devices, "requests", _MANY, _check_request, path, errors, key=_name)
    _check_list(devices, "constraints", _MANY, partial(_check_constraint, requests), path, errors)
    _check_list(devices, "config", _MANY, partial(_check_config, requests), path, errors)


def _check_list(
    part: Part,
    field: str,
    limit: int,
    check: Callable[[Any, Path, Errors], None],
    path: Path,
    errors: Errors,
    *,
    key: Callable[[Any], Hashable] | None = None,
) -> None:
    """What `check_items` says of the list that is a field of `part`."""
    check_items(
        part.get(field) or (), limit, lambda one, at: check(one, at, errors), path.child(field), errors, key=key
    )


def _name(request: Part) -> str:
    return str(request.get("name", ""))


def _names(devices: Part) -> Requests:
    return {_name(one): frozenset(map(_name, one.get("firstAvailable") or ())) for one in devices.get("requests") or ()}


def _check_request(request: Part, path: Path, errors: Errors) -> None:
    check_name(names.dns_label, _name(request), path.child("name"), errors)
    first, exactly = request.get("firstAvailable"), request.get("exactly")
    if not first and exactly is None:
        errors.append(required(path, _ONE_OF))
    elif first and exactly is not None:
        errors.append(invalid(path, None, f"{_ONE_OF}, but multiple fields are set"))
    elif exactly is not None:
        _check_exact(exactly, path.child("exactly"), errors)
    else:
        _check_list(request, "firstAvailable", 8, _check_alternative, path, errors, key=_name)


def _check_alternative(request: Part, path: Path, errors: Errors) -> None:
    check_name(names.dns_label, _name(request), path.child("name"), errors)
    _check_exact(request, path, errors)


def _check_exact(request: Part, path: Path, errors: Errors) -> None:
    """How many devices of which class."""
    if name := request.get("deviceClassName"):
        check_name(names.dns_subdomain, name, path.child("deviceClassName"), errors)
    else:
        errors.append(required(path.child("deviceClassName")))
    check_selectors(request.get("selectors") or (), path.child("selectors"), errors)
    mode, count = request.get("allocationMode", ""), request.get("count", 0)
    if mode == "All":
        if count:
            text = f"must not be specified when allocationMode is '{mode}'"
            errors.append(invalid(path.child("count"), count, text))
    elif mode == "ExactCount":
        if count <= 0:
            errors.append(invalid(path.child("count"), count, "must be greater than zero"))
    else:
        errors.append(not_supported(path.child("allocationMode"), mode, ("All", "ExactCount")))
    _check_list(request, "tolerations", -1, _check_toleration, path, errors)


def _check_toleration(toleration: Part, path: Path, errors: Errors) -> None:
    if key := toleration.get("key"):
        check_label_name(key, path.child("key"), errors)
    operator, value = toleration.get("operator", ""), toleration.get("value", "")
    if operator == "Exists":
        if value:
            errors.append(invalid(path.child("value"), value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        check_name(names.label_value, value, path.child("value"), errors)
    elif not operator:
        errors.append(required(path.child("operator")))
    else:
        errors.append(not_supported(path.child("operator"), operator, ("Equal", "Exists")))
    if effect := toleration.get("effect"):
        check_choice(effect, EFFECTS, path.child("effect"), errors)


def _check_config(requests: Requests, config: Part, path: Path, errors: Errors) -> None:
    _check_references(requests, config, path, errors)
    check_configuration(config, path, errors)


def _check_references(requests: Requests, part: Part, path: Path, errors: Errors) -> None:
    _check_list(part, "requests", _MANY, partial(_check_reference, requests), path, errors, key=str)


def _check_reference(requests: Requests, name: str, path: Path, errors: Errors) -> None:
    """`request`, or `request/alternative`."""
    parts = name.split("/")
    if len(parts) > 2:
        errors.append(invalid(path, name, _REFERENCE))
        return
    for part in parts:
        check_name(names.dns_label, part, path, errors)
    if parts[0] not in requests or (len(parts) == 2 and parts[1] not in requests[parts[0]]):
        errors.append(invalid(path, name, _REFERENCE))


def _check_constraint(requests: Requests, constraint: Part, path: Path, errors: Errors) -> None:
    _check_references(requests, constraint, path, errors)
    for field in ("matchAttribute", "distinctAttribute"):
        if (name := constraint.get(field)) is not None:
            check_attribute_name(name, path.child(field), errors, needs_domain=True)
            return
    errors.append(required(path, _MATCH))


def validate_claim_status_update(new: Part, old: Part) -> list[FieldError]:
    """An allocation is made once; whom it is kept for, and what drivers say of the devices, changes."""
    errors: Errors = []
    status, before = new.get("status") or {}, old.get("status") or {}
    reserved, path = status.get("reservedFor") or [], _STATUS.child("reservedFor")
    _check_list(status, "reservedFor", 256, _check_consumer, _STATUS, errors, key=lambda one: one.get("uid", ""))
    allocation = status.get("allocation")
    allocated = {_device_of(one) for one in _results(allocation)}
    check_items(
        status.get("devices") or (),
        -1,
        lambda one, here: _check_device(one, allocated, here, errors),
        _STATUS.child("devices"),
        errors,
        key=_device_of,
        shown=lambda one: _shown_device(_device_of(one)),
    )
    if reserved and allocation is None:
        errors.append(field_forbidden(path, "may not be specified when `allocated` is not set"))
    elif "deletionTimestamp" in new["metadata"] and any(
        one not in (before.get("reservedFor") or ()) for one in reserved
    ):
        text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(field_forbidden(path, text))
    if allocation is not None:
        path = _STATUS.child("allocation")
        if (earlier := before.get("allocation")) is None:
            _check_allocation(allocation, _names((new.get("spec") or {}).get("devices") or {}), path, errors)
        elif earlier != allocation:
            errors.append(invalid(path, allocation, IMMUTABLE))
    return errors


def _results(allocation: Part | None) -> list[Any]:
    return ((allocation or {}).get("devices") or {}).get("results") or []


def _device_of(part: Part) -> tuple[str, str, str, str]:
    driver, pool, device, share = (str(part.get(key) or "") for key in ("driver", "pool", "device", "shareID"))
    return driver, pool, device, share


def _shown_device(device: tuple[str, str, str, str]) -> Shown:
    return shown_struct(dict(zip(("Driver", "Pool", "Device", "ShareID"), device, strict=True)))


def _check_consumer(consumer: Part, path: Path, errors: Errors) -> None:
    for field in ("resource", "name", "uid"):
        if not consumer.get(field):
            errors.append(required(path.child(field)))


def _check_place(part: Part, path: Path, errors: Errors) -> None:
    check_driver_name(part.get("driver", ""), path.child("driver"), errors)
    check_pool_name(part.get("pool", ""), path.child("pool"), errors)
    check_name(names.dns_label, part.get("device", ""), path.child("device"), errors)


def _check_share(part: Part, path: Path, errors: Errors) -> None:
    share = part.get("shareID")
    if share is None or _is_uid(share):
        return
    if len(share) not in _UID_LENGTHS:
        why = f"error validating uid: invalid UUID length: {len(share)}"
    else:
        why = _UID_FORM if _is_any_uid(share) else "error validating uid: invalid UUID format"
    errors.append(invalid(path.child("shareID"), share, why))


def _check_allocation(allocation: Part, requests: Requests, path: Path, errors: Errors) -> None:
    devices, here = allocation.get("devices") or {}, path.child("devices")

    _check_list(devices, "results", _MANY, partial(_check_result, requests), here, errors)
    _check_list(devices, "config", 2 * _MANY, partial(_check_allocated_config, requests), here, errors)
    if (selector := allocation.get("nodeSelector")) is not None:
        check_node_selector(selector, path.child("nodeSelector"), errors)


def _check_result(requests: Requests, result: Part, path: Path, errors: Errors) -> None:
    _check_reference(requests, result.get("request", ""), path.child("request"), errors)
    _check_place(result, path, errors)
    check_binding(result, path, errors)
    _check_share(result, path, errors)


def _check_allocated_config(requests: Requests, config: Part, path: Path, errors: Errors) -> None:
    source = config.get("source", "")
    if not source:
        errors.append(required(path.child("source")))
    else:
        check_choice(source, ("FromClaim", "FromClass"), path.child("source"), errors)
    _check_config(requests, config, path, errors)


def _check_device(device: Part, allocated: set[tuple[str, str, str, str]], path: Path, errors: Errors) -> None:
    _check_place(device, path, errors)
    _check_share(device, path, errors)
    if (own := _device_of(device)) not in allocated:
        errors.append(invalid(path, _shown_device(own), "must be an allocated device in the claim"))
    conditions = device.get("conditions") or ()
    if len(conditions) > 8:
        errors.append(too_many(path.child("conditions"), len(conditions), 8))
    check_conditions(conditions, path.child("conditions"), errors)
    if device.get("data") is not None:
        check_raw(device["data"], path.child("data"), errors)
    network, here = device.get("networkData") or {}, path.child("networkData")
    for field, limit in (("interfaceName", 256), ("hardwareAddress", 128)):
        if len(network.get(field, "").encode()) > limit:
            errors.append(too_long(here.child(field), limit))
    _check_list(network, "ips", 16, _check_interface_address, here, errors, key=str)


def _check_interface_address(text: str, path: Path, errors: Errors) -> None:
    """An address with the length of its network's prefix, in canonical form."""
    try:
        address = ip_interface(text) if "/" in text else None
    except ValueError:
        address = None
    if address is None:
        what = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        errors.append(invalid(path, text, what))
    elif str(address) != text:
        errors.append(invalid(path, text, f'must be in canonical form ("{address}")'))
