"""Validation of custom objects by their schema.

Source: apiextensions-apiserver `pkg/registry/customresource/{strategy,status_strategy,validator}.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, invalid
from pilothouse.api.resource import ScalePaths
from pilothouse.api.structural.check import check, json_type
from pilothouse.api.structural.custom import CustomSchema
from pilothouse.api.structural.embedded import check_embedded
from pilothouse.api.structural.list_types import check_lists

View = Mapping[str, Any]
_MAX_REPLICAS = 2**31 - 1
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_GO_TYPES = {
    "boolean": "bool",
    "number": "float64",
    "array": "[]interface {}",
    "object": "map[string]interface {}",
    "null": "<nil>",
    "integer": "int64",
}


class CustomRules:
    """What holds for the objects of a custom kind at one version. The methods are the hooks of a `Resource`."""

    def __init__(self, schema: CustomSchema, scale: ScalePaths | None) -> None:
        self._schema = schema
        self._scale = scale

    def validate(self, obj: View) -> Sequence[FieldError]:
        """The faults of a new object."""
        schema = self._schema.structural
        faults = [
            *check(obj, schema),
            *self._scale_faults(obj, with_spec=True),
            *check_embedded(obj, schema),
            *check_lists(obj, schema),
        ]
        return self._with_rules(faults, obj, None)

    def validate_update(self, new: View, old: View) -> Sequence[FieldError]:
        """The faults that a change brings in; what was wrong already and has not changed may stay."""
        schema = self._schema.structural
        faults = [
            *check(new, schema, old=old),
            *self._scale_faults(new, with_spec=True),
            *check_embedded(new, schema),
        ]
        if not check_lists(old, schema):
            faults += check_lists(new, schema)
        return self._with_rules(faults, new, old)

    def validate_status_update(self, new: View, old: View) -> Sequence[FieldError]:
        schema = self._schema.structural
        faults: list[FieldError] = []
        status = schema.properties.get("status")
        if status is not None and "status" in new:
            before = {"old": old["status"]} if "status" in old else {}
            faults += check(new["status"], status, at="status", **before)
        faults += self._scale_faults(new, with_spec=False)
        if not check_lists(old, schema):
            faults += check_lists(new, schema)
        return self._with_rules(faults, new, old)

    def _with_rules(self, faults: list[FieldError], new: View, old: View | None) -> list[FieldError]:
        if self._schema.rules is None:
            return faults
        from pilothouse.api.structural.rules import blocked

        unchecked = blocked(faults)
        return [*faults, *(self._schema.rules.check(new, old) if unchecked is None else (unchecked,))]

    def warnings(self, obj: View) -> Sequence[str]:
        return finalizer_warnings(obj["metadata"].get("finalizers") or ())

    def update_warnings(self, new: View, old: View) -> Sequence[str]:
        known = old["metadata"].get("finalizers") or ()
        return finalizer_warnings([name for name in new["metadata"].get("finalizers") or () if name not in known])

    def _scale_faults(self, obj: View, *, with_spec: bool) -> list[FieldError]:
        if self._scale is None:
            return []
        faults = []
        paths = (self._scale.replicas, self._scale.status_replicas) if with_spec else (self._scale.status_replicas,)
        for path in paths:
            faults += _replicas_faults(obj, path)
        if self._scale.selector:
            value = _at(obj, self._scale.selector)
            if value is not None and not isinstance(value, str):
                faults.append(_accessor_fault(self._scale.selector, "", value, "string"))
        return faults


def finalizer_warnings(finalizers: Sequence[str]) -> list[str]:
    """What upstream says of finalizers that others might use, too."""
    warnings = []
    for name in sorted(finalizers):
        warnings += [f'metadata.finalizers: "{name}": {problem}' for problem in names.label_key(name)]
        if "/" in name or name in _STANDARD_FINALIZERS:
            continue
        including = " including a path (/)" if "." in name else ""
        warnings.append(
            f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name{including} to avoid accidental conflicts with '
            "other finalizer writers"
        )
    return warnings


def _replicas_faults(obj: View, path: tuple[str, ...]) -> list[FieldError]:
    value = _at(obj, path)
    if value is None:
        return []
    place = Path("." + ".".join(path))
    if isinstance(value, bool) or not isinstance(value, int):
        return [_accessor_fault(path, 0, value, "int64")]
    if value < 0:
        return [invalid(place, value, "should be a non-negative integer")]
    if value > _MAX_REPLICAS:
        return [invalid(place, value, f"should be less than or equal to {_MAX_REPLICAS}")]
    return []


def _accessor_fault(path: tuple[str, ...], shown: Any, value: Any, wanted: str) -> FieldError:
    place = "." + ".".join(path)
    kind = _GO_TYPES.get(json_type(value), "string")
    return invalid(Path(place), shown, f"{place} accessor error: {value} is of the type {kind}, expected {wanted}")


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(name)
    return obj
