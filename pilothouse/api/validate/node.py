"""Nodes. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid
from pilothouse.api.validate.resources import check_amount
from pilothouse.api.validate.scheduling import check_taints
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import Errors, Part, check_cidr

_is_feature = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*").fullmatch
_FEATURE = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
_STAYS = 'node updates may not change {} except from "" to valid'
_ADDRESS = {"Type": "", "Address": ""}
_SPEC = Path("spec")
_STATUS = Path("status")


def validate_node(node: Part) -> list[FieldError]:
    errors: Errors = []
    spec, status = node.get("spec") or {}, node.get("status") or {}
    if taints := spec.get("taints"):
        check_taints(taints, Path("metadata.taints"), errors)
    _check_status(status, errors)
    blocks = spec.get("podCIDRs") or ()
    for i, block in enumerate(blocks):
        check_cidr(block, _SPEC.child("podCIDRs").index(i), errors)
    if len(blocks) > 1 and (len(blocks) > 2 or len({":" in block for block in blocks}) < 2):
        text = "may specify no more than one CIDR for each IP family"
        errors.append(invalid(_SPEC.child("podCIDRs"), blocks, text))
    return errors


def _check_status(status: Part, errors: Errors) -> None:
    for field in ("capacity", "allocatable"):
        for name, amount in (status.get(field) or {}).items():
            check_amount(name, amount, _STATUS.child(field, name), errors)
    features: Sequence[str] = status.get("declaredFeatures") or ()
    path = _STATUS.child("declaredFeatures")
    for i, feature in enumerate(features):
        if len(feature) > 253:
            text = f'invalid feature name "{feature}": must be no more than 253 characters'
            errors.append(invalid(path.index(i), feature, text))
        elif not _is_feature(feature):
            errors.append(invalid(path.index(i), feature, f'invalid feature name "{feature}": {_FEATURE}'))
        if i and features[i - 1] == feature:
            errors.append(duplicate(path.index(i), feature))
        elif i and features[i - 1] > feature:
            errors.append(invalid(path.index(i), feature, "list must be sorted alphabetically"))


def validate_node_update(new: Part, old: Part) -> list[FieldError]:
    """A node's address blocks and provider are set once."""
    errors: Errors = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if taints := spec.get("taints"):
        check_taints(taints, Path("metadata.taints"), errors)
    if spec.get("externalID", "") != before.get("externalID", ""):
        errors.append(field_forbidden(_SPEC.child("externalID"), "may not be updated"))
    _check_addresses(new.get("status") or {}, errors)
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        errors.append(field_forbidden(_SPEC.child("podCIDRs"), _STAYS.format("podCIDR")))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        errors.append(field_forbidden(_SPEC.child("providerID"), _STAYS.format("providerID")))
    return errors


def validate_node_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    status = new.get("status") or {}
    _check_status(status, errors)
    _check_addresses(status, errors)
    return errors


def _check_addresses(status: Part, errors: Errors) -> None:
    seen: set[tuple[str, str]] = set()
    for i, address in enumerate(status.get("addresses") or ()):
        key = (address.get("type", ""), address.get("address", ""))
        if key in seen:
            errors.append(duplicate(_STATUS.child("addresses").index(i), shown(address, _ADDRESS)))
        seen.add(key)
