"""Leases. Source: `pkg/apis/coordination/validation`."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, not_supported
from pilothouse.api.validate.values import NOT_NEGATIVE, Errors, Part, check_name

_SPEC = Path("spec")
_STRATEGIES = ("OldestEmulationVersion",)


def validate_lease(lease: Part) -> list[FieldError]:
    errors: Errors = []
    spec = lease.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errors.append(invalid(_SPEC.child("leaseDurationSeconds"), duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        errors.append(invalid(_SPEC.child("leaseTransitions"), transitions, NOT_NEGATIVE))
    strategy = spec.get("strategy")
    if strategy is not None:
        path = _SPEC.child("strategy", "strategy")
        if "/" in strategy:
            check_name(names.label_key, strategy, path, errors)
        elif strategy not in _STRATEGIES:
            errors.append(not_supported(path, strategy, _STRATEGIES))
    if spec.get("preferredHolder") and not strategy:
        text = "may only be specified if `strategy` is defined"
        errors.append(field_forbidden(_SPEC.child("preferredHolder"), text))
    return errors
