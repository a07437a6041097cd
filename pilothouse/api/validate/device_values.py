"""What claims for devices and the slices that offer them have in common. Source: `pkg/apis/resource/validation`, KEP-4381."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import orjson

from pilothouse.api import names
from pilothouse.api.path import Path, duplicate, invalid, not_supported, required, too_long, too_many
from pilothouse.api.validate.metadata import check_label_name
from pilothouse.api.validate.storage_source import check_csi_driver_name
from pilothouse.api.validate.values import Errors, Part, check_name

EFFECTS = ("NoExecute", "NoSchedule", "None")
_MAX_ID, _MAX_POOL, _MAX_RAW, _MAX_CONDITIONS = 32, 253, 10 * 1024, 4
_MAX_EXPRESSION = 10 * 1024
_OBJECT = "<value omitted>"

check_driver_name = check_csi_driver_name


def check_items(
    items: Sequence[Any],
    limit: int,
    check: Callable[[Any, Path], None],
    path: Path,
    errors: Errors,
    *,
    key: Callable[[Any], Hashable] | None = None,
    shown: Callable[[Any], Any] | None = None,
) -> None:
    """At most `limit` items, each checked, and no two with the same `key`; `shown` is how a repeated one is told, its key if not given.

    A list that is too long is not looked into.
    """
    if limit >= 0 and len(items) > limit:
        errors.append(too_many(path, len(items), limit))
        return
    for i, item in enumerate(items):
        check(item, path.index(i))
    if key is None:
        return
    seen: set[Hashable] = set()
    for i, item in enumerate(items):
        own = key(item)
        if own in seen:
            errors.append(duplicate(path.index(i), (shown or key)(item)))
        seen.add(own)


def check_pool_name(name: str, path: Path, errors: Errors) -> None:
    """One or more host names with slashes between them."""
    if not name:
        errors.append(required(path))
        return
    if len(name) > _MAX_POOL:
        errors.append(too_long(path, _MAX_POOL))
    for part in name.split("/"):
        check_name(names.dns_subdomain, part, path, errors)


def check_selectors(selectors: Sequence[Part], path: Path, errors: Errors) -> None:
    def check(selector: Part, here: Path) -> None:
        if (cel := selector.get("cel")) is None:
            errors.append(required(here.child("cel")))
        else:
            _check_expression(cel.get("expression", ""), here.child("cel", "expression"), errors)

    check_items(selectors, 32, check, path, errors)


def _check_expression(expression: str, path: Path, errors: Errors) -> None:
    if len(expression.encode()) > _MAX_EXPRESSION:
        errors.append(too_long(path, _MAX_EXPRESSION))
        return
    # Imported here: only who writes expressions pays for their compiler.
    from pilothouse.api.cel.devices import device_environment
    from pilothouse.api.cel.environment import BOOL, CompileError

    try:
        device_environment().compile(expression, returns=BOOL)
    except CompileError as error:
        errors.append(invalid(path, expression, str(error)))


def check_configuration(config: Part, path: Path, errors: Errors) -> None:
    """Parameters that only a driver understands."""
    opaque = config.get("opaque")
    if opaque is None:
        errors.append(required(path.child("opaque")))
        return
    check_driver_name(opaque.get("driver", ""), path.child("opaque", "driver"), errors)
    check_raw(opaque.get("parameters"), path.child("opaque", "parameters"), errors)


def check_raw(value: Any, path: Path, errors: Errors) -> None:
    """An object of any fields, not too large."""
    if value is None:
        errors.append(required(path))
    elif len(orjson.dumps(value)) > _MAX_RAW:
        errors.append(too_long(path, _MAX_RAW))
    elif not isinstance(value, dict):
        errors.append(invalid(path, _OBJECT, "must be a valid JSON object"))


def check_attribute_name(name: str, path: Path, errors: Errors, *, needs_domain: bool = False) -> None:
    """`name`, or `domain/name`; more slashes are read over, as upstream does."""
    parts = name.split("/")
    if len(parts) == 1:
        check_identifier(name, path, errors)
    elif len(parts) == 2:
        if parts[0]:
            check_driver_name(parts[0], path, errors)
        else:
            errors.append(invalid(path, "", "the domain must not be empty"))
        if parts[1]:
            check_identifier(parts[1], path, errors)
        else:
            errors.append(invalid(path, "", "the name must not be empty"))
    if needs_domain and len(parts) == 1:
        text = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(invalid(path, name, text))


def check_identifier(name: str, path: Path, errors: Errors) -> None:
    if len(name) > _MAX_ID:
        errors.append(too_long(path, _MAX_ID))
    check_name(names.c_identifier, name, path, errors)


def check_taint(taint: Part, path: Path, errors: Errors) -> None:
    check_label_name(taint.get("key", ""), path.child("key"), errors)
    if value := taint.get("value"):
        check_name(names.label_value, value, path.child("value"), errors)
    effect = taint.get("effect", "")
    if not effect:
        errors.append(required(path.child("effect")))
    elif effect not in EFFECTS:
        errors.append(not_supported(path.child("effect"), effect, EFFECTS))


def check_binding(part: Part, path: Path, errors: Errors) -> None:
    """Conditions that a device must have before, and must not have while, a pod is bound: both kinds or none."""
    met, failed = part.get("bindingConditions") or [], part.get("bindingFailureConditions") or []
    for field, conditions in (("bindingConditions", met), ("bindingFailureConditions", failed)):
        check_items(
            conditions,
            _MAX_CONDITIONS,
            lambda one, here: check_label_name(one, here, errors),
            path.child(field),
            errors,
        )
    for i, condition in enumerate(met):
        if condition in met[:i]:
            errors.append(duplicate(path.child("bindingConditions").index(i), condition))
    for i, condition in enumerate(failed):
        here = path.child("bindingFailureConditions").index(i)
        if condition in failed[:i]:
            errors.append(duplicate(here, condition))
        if condition in met:
            errors.append(invalid(here, condition, "bindingFailureConditions must not overlap with bindingConditions"))
    for field, own, other, of in (
        ("bindingConditions", met, failed, "bindingFailureConditions"),
        ("bindingFailureConditions", failed, met, "bindingConditions"),
    ):
        if other and not own:
            errors.append(invalid(path.child(field), part.get(field), f"{field} are required to use {of}"))
