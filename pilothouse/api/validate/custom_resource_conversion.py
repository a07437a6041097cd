"""How a CustomResourceDefinition converts between its versions.

Source: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`, apiserver `pkg/util/webhook/validation.go`.
"""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.webhook import check_client_config

Part = Mapping[str, Any]
REVIEW_VERSIONS = ("v1", "v1beta1")


def conversion_faults(conversion: Part, path: Path, *, bad_bundle: bool, unknown_reviews: bool) -> Iterator[FieldError]:
    """`bad_bundle` and `unknown_reviews` may be where they were before."""
    strategy = conversion.get("strategy", "")
    if not strategy:
        yield required(path.child("strategy"))
    elif strategy not in ("None", "Webhook"):
        yield not_supported(path.child("strategy"), strategy, ("None", "Webhook"))
    webhook = conversion.get("webhook") or {}
    config, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy == "Webhook":
        yield from _webhook_faults(config, path.child("webhookClientConfig"), may_be_bad=bad_bundle)
        yield from _review_version_faults(versions, path.child("conversionReviewVersions"), unknown_reviews)
        return
    for key, value in (("webhookClientConfig", config), ("conversionReviewVersions", versions)):
        if value:
            yield field_forbidden(path.child(key), "should not be set when strategy is not set to Webhook")


def _webhook_faults(config: Part | None, path: Path, *, may_be_bad: bool) -> Iterator[FieldError]:
    if config is None:
        yield required(path, "required when strategy is set to Webhook")
        return
    faults: list[FieldError] = []
    if service := config.get("service"):
        # Upstream takes one for the other here, and clients see its messages.
        config = {**config, "service": {**service, "name": service.get("namespace"), "namespace": service.get("name")}}
    check_client_config(config, path, faults)
    yield from faults
    if config.get("caBundle") and not may_be_bad and (problem := bundle_problem(config["caBundle"])):
        yield invalid(path.child("caBundle"), config["caBundle"], problem)


def _review_version_faults(versions: Sequence[str], path: Path, may_be_unknown: bool) -> Iterator[FieldError]:
    if not versions:
        yield required(path)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid(path.index(index), version, "duplicate version")
        else:
            yield from (invalid(path.index(index), version, text) for text in names.dns_1035_label(version))
    if not may_be_unknown and not any(version in REVIEW_VERSIONS for version in versions):
        yield invalid(path, list(versions), f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


def bundle_problem(bundle: str) -> str:
    """What keeps a caBundle, base64 of PEM, from being used; empty if nothing does. White space alone is no bundle."""
    try:
        text = b64decode(bundle)
        if text.strip():
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode())
    except (ssl.SSLError, ValueError):
        return "unable to load root certificates: unable to parse bytes as PEM block"
    return ""
