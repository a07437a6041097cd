"""CertificateSigningRequest."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource, Subresource

CERTIFICATE_SIGNING_REQUEST = Resource(
    gvr.CERTIFICATE_SIGNING_REQUESTS,
    short_names=("csr",),
    subresources=(
        Subresource("approval"),
        STATUS,
    ),
    name_rule="path-segment",
    has_generation=False,
)
