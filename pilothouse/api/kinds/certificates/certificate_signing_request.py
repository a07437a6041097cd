"""CertificateSigningRequest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import duration, gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, at, text, value_of
from pilothouse.api.meta import Object, condition_of, format_time
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
    """Approval and denial are decided through `approval` alone. They stay as they are; one more or fewer is left, to be refused."""
    conditions = draft.setdefault("status", {}).get("conditions") or []
    for decision in _DECISIONS:
        decided = [found for found in at(old, "status", "conditions") or () if found["type"] == decision]
        places = [i for i, found in enumerate(conditions) if found.get("type") == decision]
        if len(places) == len(decided):
            for i, found in zip(places, decided, strict=True):
                conditions[i] = found


def _stamp_status(draft: Object, old: View, now: float) -> None:
    if conditions := draft["status"].get("conditions"):
        draft["status"]["conditions"] = dated(conditions, at(old, "status", "conditions"), now)


def dated(
    conditions: list[Mapping[str, Any]], old: list[Mapping[str, Any]] | None, now: float
) -> list[Mapping[str, Any]]:
    """`conditions` with the times that the client left out."""
    found: list[Mapping[str, Any]] = []
    for condition in conditions:
        before = condition_of(old, str(condition.get("type", "")))
        is_same = before is not None and before.get("status") == condition.get("status")
        since = before.get("lastTransitionTime") if is_same and before is not None else None
        times = {
            "lastUpdateTime": condition.get("lastUpdateTime") or format_time(now),
            "lastTransitionTime": condition.get("lastTransitionTime") or since or format_time(now),
        }
        found.append({**condition, **times})
    return found


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
    stamp_status=_stamp_status,
    validate=Deferred("pilothouse.api.validate.certificate", "validate_signing_request"),
    validate_update=Deferred("pilothouse.api.validate.certificate", "validate_signing_request_update"),
    ratchets=True,
    validate_status_update=Deferred("pilothouse.api.validate.certificate", "validate_signing_request_status_update"),
)
