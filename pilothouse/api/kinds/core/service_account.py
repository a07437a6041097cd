"""ServiceAccount."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.resource import Resource, Subresource

SERVICE_ACCOUNT = Resource(
    gvr.SERVICE_ACCOUNTS,
    short_names=("sa",),
    subresources=(Subresource("token", ("create",), kind="TokenRequest", group="authentication.k8s.io", version="v1"),),
    has_generation=False,
    columns=(NAME, AGE),
    returns_deleted=True,
)
