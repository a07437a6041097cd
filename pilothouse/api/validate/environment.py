"""Environment variables of a container. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pilothouse.api import names
from pilothouse.api.path import Path, invalid, required
from pilothouse.api.validate.projection import ENV_FIELDS, check_field_ref, check_resource_ref
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_name,
    check_no_steps_back,
    check_present,
    check_required_name,
)

_ONE_OF = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
_ONLY_ONE = "may not have more than one field specified at a time"


def check_env(variables: Sequence[Part], path: Path, errors: Errors) -> None:
    for i, variable in enumerate(variables):
        name = variable.get("name", "")
        if not name:
            errors.append(required(path.index(i).child("name")))
        elif messages := names.env_var_name(name):
            errors.extend(invalid(path.index(i).child("name"), name, text) for text in messages)
        source = variable.get("valueFrom")
        if source is not None:
            _check_value_from(source, variable.get("value", ""), path.index(i).child("valueFrom"), errors)


def _check_value_from(source: Part, value: str, path: Path, errors: Errors) -> None:
    given = 0
    for field, check in _SOURCES.items():
        if (part := source.get(field)) is not None:
            given += 1
            check(part, path.child(field), errors)
    if not given:
        errors.append(invalid(path, "", _ONE_OF))
    elif value:
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif given > 1:
        errors.append(invalid(path, "", _ONLY_ONE))


def _check_field(ref: Part, path: Path, errors: Errors) -> None:
    check_field_ref(ref, ENV_FIELDS, path, errors)


def _check_resource(ref: Part, path: Path, errors: Errors) -> None:
    check_resource_ref(ref, path, errors, in_volume=False)


def _check_key(ref: Part, path: Path, errors: Errors) -> None:
    check_name(names.dns_subdomain, ref.get("name", ""), path.child("name"), errors)
    check_required_name(names.config_key, ref, "key", path, errors)


def _check_file_key(ref: Part, path: Path, errors: Errors) -> None:
    check_required_name(names.env_var_name, ref, "key", path, errors)
    check_required_name(names.dns_label, ref, "volumeName", path, errors)
    if check_present(ref, "path", path, errors):
        check_no_steps_back(ref["path"], path.child("path"), errors)


_SOURCES: Mapping[str, Callable[[Part, Path, Errors], None]] = {
    "fieldRef": _check_field,
    "resourceFieldRef": _check_resource,
    "configMapKeyRef": _check_key,
    "secretKeyRef": _check_key,
    "fileKeyRef": _check_file_key,
}


def check_env_from(sources: Sequence[Part], path: Path, errors: Errors) -> None:
    for i, source in enumerate(sources):
        here = path.index(i)
        if prefix := source.get("prefix"):
            check_name(names.env_var_name, prefix, here.child("prefix"), errors)
        given = [field for field in ("configMapRef", "secretRef") if field in source]
        for field in given:
            name = source[field].get("name", "")
            if not name:
                errors.append(required(here.child(field, "name")))
            else:
                check_name(names.generated(names.dns_subdomain), name, here.child(field, "name"), errors)
        if not given:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            errors.append(invalid(path, "", _ONLY_ONE))
