"""`certificatesigningrequests/approval`: where a request is approved or denied. Source: `pkg/registry/certificates/certificates`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.kinds.certificates.certificate_signing_request import only_approval
from pilothouse.api.meta import Object, condition_of, format_time
from pilothouse.api.validate.certificate import validate_signing_request_approval
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.subresources.pods import part
from pilothouse.kit.http.message import Response

_CLIENTS_METADATA = ("annotations", "finalizers", "labels", "ownerReferences")


async def approval(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Take over the conditions. Raises NotFound, Conflict, Invalid, Forbidden."""

    def take(present: Object, sent: Mapping[str, Any]) -> None:
        decided = only_approval(sent, present)
        for name in _CLIENTS_METADATA:
            present["metadata"].pop(name, None)
            if name in sent["metadata"]:
                present["metadata"][name] = sent["metadata"][name]
        old = (present.get("status") or {}).get("conditions")
        decided["status"]["conditions"] = dated(decided["status"]["conditions"], old, now)
        present["status"] = decided["status"]

    return await part(call, endpoint, now, take, validate_signing_request_approval)


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
