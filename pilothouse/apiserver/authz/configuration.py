"""AuthorizationConfiguration: which authorizers are asked, in which order. Source: KEP-3221, apiserver `pkg/apis/apiserver/validation`,
`pkg/kubeapiserver/authorizer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Any

from pilothouse.api import names
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, duplicate, invalid, not_supported, required, too_many
from pilothouse.api.status import aggregate
from pilothouse.apiserver.configuration import read, seconds

GROUP = "apiserver.config.k8s.io"
MODES = ("ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")
NO_OPINION, DENY = "NoOpinion", "Deny"
IN_CLUSTER, KUBECONFIG_FILE = "InClusterConfig", "KubeConfigFile"
MAX_CONDITIONS = 64
MAX_TIMEOUT_S = 30.0

_WEBHOOK = {
    "authorizedTTL": timedelta,
    "cacheAuthorizedRequests": bool,
    "unauthorizedTTL": timedelta,
    "cacheUnauthorizedRequests": bool,
    "timeout": timedelta,
    "subjectAccessReviewVersion": str,
    "matchConditionSubjectAccessReviewVersion": str,
    "failurePolicy": str,
    "connectionInfo": {"type": str, "kubeConfigFile": str},
    "matchConditions": [{"expression": str}],
}
_SHAPE = {"authorizers": [{"type": str, "name": str, "webhook": _WEBHOOK}]}
_DEFAULTS = {
    "authorizedTTL": "5m0s",
    "unauthorizedTTL": "30s",
    "cacheAuthorizedRequests": True,
    "cacheUnauthorizedRequests": True,
}


class ConfigurationError(ValueError):
    """The configuration cannot be used; the message says where and why."""


def load(text: bytes, required_types: Iterable[str] = ()) -> list[Object]:
    """The authorizers of a file, in order. Those of `required_types` must be among them. Raises ConfigurationError."""
    try:
        document = read(
            text, "AuthorizationConfiguration", {f"{GROUP}/{v}": _SHAPE for v in ("v1", "v1beta1", "v1alpha1")}
        )
    except ValueError as error:
        raise ConfigurationError(f"failed to load AuthorizationConfiguration from file: {error}") from None
    authorizers = [_defaulted(each or {}) for each in document.get("authorizers") or ()]
    if found := faults(authorizers):
        raise ConfigurationError(aggregate(map(str, found)))
    errors = [
        f"expected name {each['type'].lower()} for authorizer {each['type']} instead of {each['name']}"
        for each in authorizers
        if each["type"] != "Webhook" and each["name"] != each["type"].lower()
    ]
    if missing := sorted(set(required_types) - {each["type"] for each in authorizers}):
        errors.append(f"missing required types: [{' '.join(missing)}]")
    if errors:
        raise ConfigurationError(aggregate(errors))
    return authorizers


def _defaulted(authorizer: Mapping[str, Any]) -> Object:
    webhook = authorizer.get("webhook")
    if webhook is None:
        return dict(authorizer)
    given = {key: value for key, value in webhook.items() if value is not None and not (_is_zero(key, value))}
    return {**authorizer, "webhook": {**_DEFAULTS, **given}}


def _is_zero(key: str, value: Any) -> bool:
    return key.endswith("TTL") and seconds(value) == 0


def faults(authorizers: Sequence[Object]) -> list[FieldError]:
    """What is wrong with a configuration, its expressions included."""
    root = Path("authorizers")
    if not authorizers:
        return [required(root, "at least one authorization mode must be defined")]
    found: list[FieldError] = []
    types: set[str] = set()
    seen_names: set[str] = set()
    for index, authorizer in enumerate(authorizers):
        path = root.index(index)
        type_, name = authorizer.get("type") or "", authorizer.get("name") or ""
        if not type_:
            found.append(required(path.child("type")))
            continue
        if type_ not in MODES:
            found.append(not_supported(path.child("type"), type_, MODES))
            continue
        if type_ in types and type_ != "Webhook":
            found.append(duplicate(path.child("type"), type_))
            continue
        types.add(type_)
        if not name:
            found.append(required(path.child("name")))
        elif name in seen_names:
            found.append(duplicate(path.child("name"), name))
        elif why := names.dns_subdomain(name):
            found.append(invalid(path.child("name"), name, f"authorizer name is invalid: {', '.join(why)}"))
        seen_names.add(name)
        webhook = authorizer.get("webhook")
        if type_ != "Webhook":
            if webhook is not None:
                found.append(invalid(path.child("webhook"), "non-null", "may only be specified when type=Webhook"))
        elif webhook is None:
            found.append(required(path.child("webhook"), "required when type=Webhook"))
        else:
            found += _webhook_faults(webhook, path)
    return found


def _webhook_faults(webhook: Object, path: Path) -> Iterable[FieldError]:
    timeout = webhook.get("timeout") or "0s"
    if seconds(timeout) == 0:
        yield required(path.child("timeout"))
    elif not 0 < seconds(timeout) <= MAX_TIMEOUT_S:
        yield invalid(path.child("timeout"), timeout, "must be > 0s and <= 30s")
    for field in ("authorizedTTL", "unauthorizedTTL"):
        if seconds(webhook[field]) < 0:
            yield invalid(path.child(field), webhook[field], "must be > 0s")
    version, spoken = path.child("subjectAccessReviewVersion"), webhook.get("subjectAccessReviewVersion") or ""
    if not spoken:
        yield required(version)
    elif spoken not in ("v1", "v1beta1"):
        yield not_supported(version, spoken, ("v1", "v1beta1"))
    where, matched = path.child("matchConditionSubjectAccessReviewVersion"), "matchConditionSubjectAccessReviewVersion"
    if not webhook.get(matched):
        if webhook.get("matchConditions"):
            yield required(where, "required if match conditions are specified")
    elif webhook[matched] != "v1":
        yield not_supported(where, webhook[matched], ("v1",))
    policy = webhook.get("failurePolicy") or ""
    if not policy:
        yield required(path.child("failurePolicy"))
    elif policy not in (NO_OPINION, DENY):
        yield not_supported(path.child("failurePolicy"), policy, (NO_OPINION, DENY))
    yield from _connection_faults(webhook.get("connectionInfo") or {}, path.child("connectionInfo"))
    yield from _condition_faults(webhook.get("matchConditions") or (), path.child("matchConditions"))


def _connection_faults(info: Mapping[str, Any], path: Path) -> Iterable[FieldError]:
    file, where = info.get("kubeConfigFile"), path.child("kubeConfigFile")
    match info.get("type") or "":
        case "":
            yield required(path.child("type"))
        case "InClusterConfig":
            if file is not None:
                yield invalid(where, file, "can only be set when type=KubeConfigFile")
            else:
                yield invalid(path.child("type"), IN_CLUSTER, "is not supported by this server; use KubeConfigFile")
        case "KubeConfigFile":
            if not file:
                yield required(where)
            elif not FilePath(file).is_absolute():
                yield invalid(where, file, "must be an absolute path")
            elif not FilePath(file).exists():
                yield invalid(where, file, f"error loading file: stat {file}: no such file or directory")
            elif not FilePath(file).is_file():
                yield invalid(where, file, "must be a regular file")
        case other:
            yield not_supported(path.child("type"), other, (IN_CLUSTER, KUBECONFIG_FILE))


def _condition_faults(conditions: Sequence[Mapping[str, Any]], path: Path) -> Iterable[FieldError]:
    if len(conditions) > MAX_CONDITIONS:
        yield too_many(path, len(conditions), MAX_CONDITIONS)
        return
    if not conditions:
        return
    from pilothouse.api.cel.environment import CompileError
    from pilothouse.apiserver.authz.conditions import Compiler

    compiler = Compiler()
    seen = set()
    for index, condition in enumerate(conditions):
        where, expression = path.index(index).child("expression"), condition.get("expression") or ""
        if not expression.strip():
            yield required(where)
        elif expression in seen:
            yield duplicate(where, expression)
        else:
            seen.add(expression)
            try:
                compiler.compile(expression)
            except CompileError as error:
                yield invalid(where, expression, str(error))
