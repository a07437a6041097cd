"""`certificatesigningrequests/approval`: where a request is approved or denied. Source: `pkg/registry/certificates/certificates`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.kinds.certificates.certificate_signing_request import dated, only_approval
from pilothouse.api.meta import Object
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
