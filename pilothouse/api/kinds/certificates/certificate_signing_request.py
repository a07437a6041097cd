"""CertificateSigningRequest."""

from __future__ import annotations

from pilothouse.api import duration, gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, at, text, value_of
from pilothouse.api.meta import Object
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource, Subresource
from pilothouse.kit.deferred import Deferred

_DECISIONS = ("Approved", "Denied")


def _condition(obj: View, now: float) -> str:
    types = {condition["type"] for condition in at(obj, "status", "conditions") or ()}
    state = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    failed = ",Failed" if "Failed" in types else ""
    return f"{state}{failed}{',Issued' if at(obj, 'status', 'certificate') else ''}"


def _requested_duration(obj: View, now: float) -> str:
    seconds = at(obj, "spec", "expirationSeconds")
    return NONE if seconds is None else duration.human_duration(seconds)


def _prepare_create(draft: Object) -> None:
    """Who asks is written by the API server, which knows; admission has done so when this runs."""
    draft["status"] = {}


def _prepare_update(draft: Object, old: View) -> None:
    draft["spec"] = old["spec"]


def _prepare_status_update(draft: Object, old: View) -> None:
    """Approval and denial are decided through `approval` alone."""
    status = draft.setdefault("status", {})
    decided = [found for found in at(old, "status", "conditions") or () if found["type"] in _DECISIONS]
    others = [found for found in status.get("conditions") or () if found.get("type") not in _DECISIONS]
    status["conditions"] = [*decided, *others]


def only_approval(draft: View, old: View) -> Object:
    """What an update of `approval` changes: the old request with the draft's conditions."""
    status = {**(old.get("status") or {}), "conditions": at(draft, "status", "conditions") or []}
    return {**old, "metadata": draft["metadata"], "status": status}


CERTIFICATE_SIGNING_REQUEST = Resource(
    gvr.CERTIFICATE_SIGNING_REQUESTS,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("csr",),
    subresources=(
        Subresource("approval"),
        STATUS,
    ),
    name_rule="path-segment",
    has_generation=False,
    selectable={"spec.signerName": value_of("spec", "signerName")},
    columns=(
        NAME,
        AGE,
        text("SignerName", "spec", "signerName", empty=NONE),
        text("Requestor", "spec", "username"),
        Column("RequestedDuration", _requested_duration),
        Column("Condition", _condition),
    ),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    prepare_status_update=_prepare_status_update,
    validate=Deferred("pilothouse.api.validate.certificate", "validate_signing_request"),
    validate_update=Deferred("pilothouse.api.validate.certificate", "validate_signing_request_update"),
    ratchets=True,
    validate_status_update=Deferred("pilothouse.api.validate.certificate", "validate_signing_request_status_update"),
)
