"""What a driver offers: slices of a pool of devices. Source: `pkg/apis/resource/validation`, KEP-4381, KEP-4815, KEP-5075."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.path import FieldError, Path, Shown, field_forbidden, invalid, required, too_long, too_many
from pilothouse.api.validate.device_values import (
    check_attribute_name,
    check_binding,
    check_driver_name,
    check_items,
    check_pool_name,
    check_taint,
)
from pilothouse.api.validate.scheduling import check_node_selector
from pilothouse.api.validate.values import IMMUTABLE, Errors, Part, check_name

_SPEC = Path("spec")
_MOST_DEVICES, _MOST_ADVANCED_DEVICES, _MOST_ATTRIBUTES, _MOST_COUNTERS = 128, 64, 32, 32
_MAX_TEXT, _MAX_KEY = 64, 63 + 1 + 32
_WHERE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_WHERE_DEVICE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NOT_BY_DEVICE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NUMBER = r"(0|[1-9]\d*)"
_PRERELEASE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_is_version = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRERELEASE}(\.{_PRERELEASE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?", re.ASCII
).fullmatch


def validate_slice(resource_slice: Part) -> list[FieldError]:
    errors: Errors = []
    spec = resource_slice.get("spec") or {}
    check_driver_name(spec.get("driver", ""), _SPEC.child("driver"), errors)
    pool, path = spec.get("pool") or {}, _SPEC.child("pool")
    check_pool_name(pool.get("name", ""), path.child("name"), errors)
    if (count := pool.get("resourceSliceCount", 0)) <= 0:
        errors.append(invalid(path.child("resourceSliceCount"), count, "must be greater than zero"))
    if (generation := pool.get("generation", 0)) < 0:
        errors.append(invalid(path.child("generation"), generation, "must be greater than or equal to zero"))
    _check_where(spec, errors)
    devices = spec.get("devices")
    if spec.get("sharedCounters") is not None and devices is not None:
        errors.append(invalid(_SPEC, "", "only one of `sharedCounters` or `devices` is allowed"))
    advanced = any(device.get("taints") or device.get("consumesCounters") for device in devices or ())
    by_device = bool(spec.get("perDeviceNodeSelection"))
    check_items(
        devices or (),
        _MOST_ADVANCED_DEVICES if advanced else _MOST_DEVICES,
        lambda one, here: _check_device(one, by_device, here, errors),
        _SPEC.child("devices"),
        errors,
        key=lambda one: one.get("name", ""),
    )
    check_items(
        spec.get("sharedCounters") or (),
        8,
        lambda one, here: _check_counters(one, "name", here, errors),
        _SPEC.child("sharedCounters"),
        errors,
        key=lambda one: one.get("name", ""),
    )
    return errors


def validate_slice_update(new: Part, old: Part) -> list[FieldError]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    now, then = (one.get("pool") or {} for one in (spec, before))
    pairs = (
        ("pool.name", now.get("name", ""), then.get("name", "")),
        ("driver", spec.get("driver", ""), before.get("driver", "")),
        ("nodeName", spec.get("nodeName"), before.get("nodeName")),
    )
    return [invalid(_SPEC.child(field), value, IMMUTABLE) for field, value, earlier in pairs if value != earlier]


def _check_flag(part: Part, field: str, path: Path, found: list[str], errors: Errors) -> None:
    value = part.get(field)
    if value:
        found.append(f"`{field}`")
    elif value is not None:
        errors.append(invalid(path.child(field), value, "must be either unset or set to true"))


def _check_node(part: Part, path: Path, found: list[str], errors: Errors, empty: str) -> None:
    name = part.get("nodeName")
    if name:
        found.append("`nodeName`")
        check_name(names.dns_subdomain, name, path.child("nodeName"), errors)
    elif name is not None:
        errors.append(invalid(path.child("nodeName"), name, empty))
    if (selector := part.get("nodeSelector")) is not None:
        found.append("`nodeSelector`")
        check_node_selector(selector, path.child("nodeSelector"), errors)


def _check_where(spec: Part, errors: Errors) -> None:
    found: list[str] = []
    _check_node(spec, _SPEC, found, errors, "must be either unset or set to a non-empty string")
    selector = spec.get("nodeSelector")
    if selector is not None and len(terms := selector.get("nodeSelectorTerms") or ()) != 1:
        here = _SPEC.child("nodeSelector", "nodeSelectorTerms")
        errors.append(invalid(here, terms or None, "must have exactly one node selector term"))
    for field in ("allNodes", "perDeviceNodeSelection"):
        _check_flag(spec, field, _SPEC, found, errors)
    if not found:
        errors.append(required(_SPEC, _WHERE))
    elif len(found) > 1:
        text = f"{_WHERE}, but multiple fields are set"
        errors.append(invalid(_SPEC, f"{{{', '.join(found)}}}", text))


def _check_device(device: Part, by_device: bool, path: Path, errors: Errors) -> None:
    check_name(names.dns_label, device.get("name", ""), path.child("name"), errors)
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    if (total := len(attributes) + len(capacity)) > _MOST_ATTRIBUTES:
        text = f"the total number of attributes and capacities must not exceed {_MOST_ATTRIBUTES}"
        errors.append(invalid(path, total, text))
    shared = bool(device.get("allowMultipleAllocations"))
    _check_map(attributes, path.child("attributes"), errors, check_attribute_name, _check_attribute)
    _check_map(
        capacity, path.child("capacity"), errors, check_attribute_name, _check_shared if shared else _check_unshared
    )
    check_items(
        device.get("taints") or (), 16, lambda one, here: check_taint(one, here, errors), path.child("taints"), errors
    )
    check_items(
        device.get("consumesCounters") or (),
        2,
        lambda one, here: _check_counters(one, "counterSet", here, errors),
        path.child("consumesCounters"),
        errors,
        key=lambda one: one.get("counterSet", ""),
    )
    if by_device:
        found: list[str] = []
        _check_node(device, path, found, errors, "must not be empty")
        _check_flag(device, "allNodes", path, found, errors)
        if not found:
            errors.append(required(path, _WHERE_DEVICE))
        elif len(found) > 1:
            errors.append(invalid(path, f"{{{', '.join(found)}}}", _WHERE_DEVICE))
    elif any(field in device for field in ("nodeName", "nodeSelector", "allNodes")):
        errors.append(invalid(path, None, _NOT_BY_DEVICE))
    check_binding(device, path, errors)


CheckKey = Callable[[str, Path, Errors], None]
CheckValue = Callable[[Any, Path, Errors], None]


def _check_map(
    values: Mapping[str, Any], path: Path, errors: Errors, check_key: CheckKey, check_value: CheckValue
) -> None:
    for key, value in values.items():
        check_key(key, path, errors)
        check_value(value, path.key(_shortened(key)), errors)


def _shortened(key: str) -> str:
    if len(key) <= _MAX_KEY:
        return key
    rest = _MAX_KEY - 3
    return f"{key[: (rest + 1) // 2]}...{key[len(key) - rest // 2 :]}"


def _check_attribute(attribute: Part, path: Path, errors: Errors) -> None:
    if (text := attribute.get("string")) is not None and len(text.encode()) > _MAX_TEXT:
        errors.append(too_long(path.child("string"), _MAX_TEXT))
    if (version := attribute.get("version")) is not None:
        if not _is_version(version):
            text = "must be a string compatible with semver.org spec 2.0.0"
            errors.append(invalid(path.child("version"), version, text))
        if len(version.encode()) > _MAX_TEXT:
            errors.append(too_long(path.child("version"), _MAX_TEXT))
    given = [field for field in ("bool", "int", "string", "version") if field in attribute]
    if len(given) != 1:
        errors.append(invalid(path, _shown(attribute) if given else "", "exactly one value must be specified"))


def _shown(attribute: Part) -> Shown:
    kinds = ("int", "bool", "string", "version")
    values = {f"{kind.capitalize()}Value": attribute.get(kind) for kind in kinds}
    lists = {f"{kind.capitalize()}Values": attribute.get(f"{kind}s") for kind in kinds}
    return Shown(json.dumps({**values, **lists}, separators=(",", ":")))


def _check_unshared(capacity: Part, path: Path, errors: Errors) -> None:
    if capacity.get("requestPolicy") is not None:
        errors.append(field_forbidden(path.child("requestPolicy"), "allowMultipleAllocations must be true"))


def _check_shared(capacity: Part, path: Path, errors: Errors) -> None:
    """How a device's capacity may be divided (KEP-5075)."""
    policy, path = capacity.get("requestPolicy"), path.child("requestPolicy")
    if policy is None:
        return
    values, limits = policy.get("validValues"), policy.get("validRange")
    most = quantity.parse(str(capacity.get("value", "0")))
    if values and limits is not None:
        text = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        errors.append(field_forbidden(path, text))
        return
    for field, given in (("validValues", values or None), ("validRange", limits)):
        if given is not None and policy.get("default") is None:
            errors.append(required(path.child("default"), f"required when {field} is defined"))
            return
    if values:
        options = [quantity.parse(str(value)) for value in values]
        _check_options(options, quantity.parse(str(policy["default"])), most, path.child("validValues"), errors)
    elif limits is not None:
        _check_limits(limits, quantity.parse(str(policy["default"])), most, path.child("validRange"), errors)


def _check_options(
    options: list[quantity.Quantity], default: quantity.Quantity, most: quantity.Quantity, path: Path, errors: Errors
) -> None:
    for i in range(1, len(options)):
        if options[i] < options[i - 1]:
            errors.append(invalid(path.index(i), str(options[i]), "values must be sorted in ascending order"))
    if len(options) > 10:
        errors.append(too_many(path, len(options), 10))
    else:

        def check(option: quantity.Quantity, here: Path) -> None:
            if most < option:
                errors.append(invalid(here, str(option), f"option is larger than capacity value: {most}"))

        check_items(options, -1, check, path, errors, key=lambda option: str(option.value))
    if default not in options:
        errors.append(invalid(path, str(default), "default value is not valid according to the requestPolicy"))


def _check_limits(
    limits: Part, default: quantity.Quantity, most: quantity.Quantity, path: Path, errors: Errors
) -> None:
    if limits.get("min") is None:
        errors.append(required(path.child("min"), "required when validRange is defined"))
        return
    low = quantity.parse(str(limits["min"]))
    high, step = (quantity.parse(str(limits[key])) if key in limits else None for key in ("max", "step"))
    if most < low:
        errors.append(invalid(path.child("min"), str(low), f"min is larger than capacity value: {most}"))
    if default < low:
        errors.append(invalid(path.child("min"), str(default), f"default is less than min: {low}"))
    if high is not None:
        if high < low:
            errors.append(invalid(path.child("max"), str(low), f"min is larger than max: {high}"))
        if most < high:
            errors.append(invalid(path.child("max"), str(high), f"max is larger than capacity value: {most}"))
        if high < default:
            errors.append(invalid(path.child("max"), str(default), f"default is more than max: {high}"))
    if step is None:
        return
    if most < low + step:
        text = f"one step {low + step} is larger than capacity value: {most}"
        errors.append(invalid(path.child("step"), str(step), text))
    for value in filter(None, (default, high)):
        if step.value and (value.value - low.value) % step.value:
            text = f"value is not a multiple of a given step ({step}) from ({low})"
            errors.append(invalid(path.child("step"), str(value), text))


def _check_counters(counters: Part, name_field: str, path: Path, errors: Errors) -> None:
    """A set of counters that devices share, or what one device takes of it."""
    if name := counters.get(name_field):
        check_name(names.dns_label, name, path.child(name_field), errors)
    else:
        errors.append(required(path.child(name_field)))
    values, here = counters.get("counters") or {}, path.child("counters")
    if not values:
        errors.append(required(here))
    elif len(values) > _MOST_COUNTERS:
        errors.append(too_many(here, len(values), _MOST_COUNTERS))
    else:
        for key in values:
            check_name(names.dns_label, key, here, errors)
