"""Secret."""

from __future__ import annotations

import base64

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, count, text, value_of
from pilothouse.api.resource import MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _warnings(secret: View) -> list[str]:
    if secret.get("type") != "kubernetes.io/tls":
        return []
    from pilothouse.api.kinds import tls_pair

    data = secret.get("data") or {}
    found = tls_pair.fault(*(base64.b64decode(data.get(key) or "") for key in ("tls.crt", "tls.key")))
    return [found] if found else []


SECRET = Resource(
    gvr.SECRETS,
    metadata_checks=MetadataChecks.BOTH,
    has_generation=False,
    secret=True,
    selectable={"type": value_of("type")},
    columns=(NAME, text("Type", "type"), count("Data", "data", type="string"), AGE),
    validate=Deferred("pilothouse.api.validate.config", "validate_secret"),
    validate_update=Deferred("pilothouse.api.validate.config", "validate_secret_update"),
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
)
