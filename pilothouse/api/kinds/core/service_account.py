"""ServiceAccount."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME
from pilothouse.api.meta import Object
from pilothouse.api.resource import MetadataChecks, Resource, Subresource


def _keep_names(draft: Object) -> None:
    """Of the secrets that an account may use only the names count."""
    secrets = draft.get("secrets")
    if secrets:
        draft["secrets"] = [{"name": secret["name"]} if "name" in secret else {} for secret in secrets]


SERVICE_ACCOUNT = Resource(
    gvr.SERVICE_ACCOUNTS,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("sa",),
    subresources=(Subresource("token", ("create",), kind="TokenRequest", group="authentication.k8s.io", version="v1"),),
    has_generation=False,
    columns=(NAME, AGE),
    returns_deleted=True,
    prepare_create=_keep_names,
    prepare_update=lambda draft, old: _keep_names(draft),
)
