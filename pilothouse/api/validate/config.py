"""ConfigMaps and Secrets. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from pilothouse.api import json_text, names
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, required, too_long
from pilothouse.api.validate.values import Errors, Part, check_immutable_field, check_name

MAX_DATA_BYTES = 1024 * 1024
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""The keys that a Secret of a type must have."""
_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_FROZEN = "field is immutable when `immutable` is set"
_DATA = Path("data")


def _decoded_length(text: str) -> int:
    """How many bytes a value in base64 stands for."""
    return len(text) // 4 * 3 - text.count("=", -2)


def validate_config_map(config_map: Part) -> list[FieldError]:
    errors: Errors = []
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        if messages := names.config_key(key):
            errors.extend(invalid(_DATA.key(key), key, text) for text in messages)
        if key in binary:
            errors.append(invalid(_DATA.key(key), key, "duplicate of key present in binaryData"))
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        check_name(names.config_key, key, Path("binaryData").key(key), errors)
        size += _decoded_length(value)
    if size > MAX_DATA_BYTES:
        errors.append(too_long(Path("[]"), MAX_DATA_BYTES))
    return errors


def validate_config_map_update(new: Part, old: Part) -> list[FieldError]:
    return _frozen_faults(new, old, ("data", "binaryData"))


def _frozen_faults(new: Part, old: Part, fields: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    errors = [] if new.get("immutable") else [field_forbidden(Path("immutable"), _FROZEN)]
    errors.extend(field_forbidden(Path(field), _FROZEN) for field in fields if new.get(field) != old.get(field))
    return errors


def validate_secret(secret: Part) -> list[FieldError]:
    errors: Errors = []
    data = secret.get("data") or {}
    size = 0
    for key, value in data.items():
        if messages := names.config_key(key):
            errors.extend(invalid(_DATA.key(key), key, text) for text in messages)
        size += _decoded_length(value)
    if size > MAX_DATA_BYTES:
        errors.append(too_long(_DATA, MAX_DATA_BYTES))
    kind = secret.get("type", "")
    if kind == "kubernetes.io/service-account-token":
        if not (secret["metadata"].get("annotations") or {}).get(_ACCOUNT_NAME):
            errors.append(required(Path("metadata.annotations").key(_ACCOUNT_NAME)))
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            errors.extend(required(_DATA.key(key)) for key in ("username", "password"))
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            errors.append(required(_DATA.key("ssh-privatekey")))
    else:
        _check_needed_keys(kind, data, errors)
    return errors


def _check_needed_keys(kind: str, data: Mapping[str, str], errors: Errors) -> None:
    for key in _NEEDS.get(kind, ()):
        if key not in data:
            errors.append(required(_DATA.key(key)))
        elif kind != "kubernetes.io/tls":
            content = base64.b64decode(data[key])
            if problem := _no_map(content):
                errors.append(invalid(_DATA.key(key), "<secret contents redacted>", problem))


def _no_map(content: bytes) -> str:
    """Why a text is no map in JSON, in the words of upstream's decoder; empty: it is one."""
    try:
        value = json_text.read(content)
    except json_text.Fault as fault:
        return str(fault)
    if value is None or isinstance(value, dict):
        return ""
    kinds = {bool: "bool", str: "string", list: "array"}
    return f"json: cannot unmarshal {kinds.get(type(value), 'number')} into Go value of type map[string]interface {{}}"


def validate_secret_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    check_immutable_field(new, old, "type", Path(), errors)
    return [*errors, *_frozen_faults(new, old, ("data",))]
