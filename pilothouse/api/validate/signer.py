"""Names of certificate signers: `example.com/signer-name`. Source: `pkg/apis/core/validation/names.go`."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.path import Path, invalid, required, too_long
from pilothouse.api.validate.values import Errors

_MAX_DOMAIN = 253
_MAX_NAME = _MAX_DOMAIN + 1 + 63 + 1 + _MAX_DOMAIN


def is_kubernetes_signer(name: str) -> bool:
    """Whether the signer belongs to Kubernetes itself."""
    domain = name.partition("/")[0]
    return domain == "kubernetes.io" or domain.endswith(".kubernetes.io")


def check_signer_name(name: str, path: Path, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
        return
    segments = name.split("/")
    if len(segments) != 2:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(invalid(path, name, text))
        return
    domain, rest = segments
    if len(domain) > _MAX_DOMAIN:
        errors.append(too_long(path, _MAX_DOMAIN))
    _check_labels(domain, names.dns_label, path, errors)
    if "." not in domain:
        errors.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    _check_labels(rest, names.dns_subdomain, path, errors)
    if len(name) > _MAX_NAME:
        errors.append(too_long(path, _MAX_NAME))


def _check_labels(segment: str, rule: names.Rule, path: Path, errors: Errors) -> None:
    """The first label at fault is reported; the others would say the same."""
    for label in segment.split("."):
        if messages := rule(label):
            errors.extend(invalid(path, segment, f'validating label "{label}": {text}') for text in messages)
            return
