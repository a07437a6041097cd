"""The control loops of CertificateSigningRequests: one approves what kubelets ask for, one signs, one removes what is over.

Source: upstream `pkg/controller/certificates/{approver,signer,cleaner}`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilothouse.api.gvr import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from pilothouse.api.meta import Object, format_time, is_condition_true, parse_time
from pilothouse.controllers.certificates import signing
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit import certificate

POLL_S = 3600.0
DECIDED_S = 3600.0
"""How long a request is kept that was issued, denied or failed."""
PENDING_S = 24 * 3600.0
ASK_AGAIN_S = 60.0
_RECOGNIZED = (
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
)


class _SigningRequests(Controller):
    """A key is a request's name."""

    account = "certificate-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._requests = context.informers.of(CERTIFICATE_SIGNING_REQUESTS)
        self.follow(self._requests, self.enqueue)


class SigningRequestApprover(_SigningRequests):
    """Approves the client certificates of kubelets that may have one."""

    name = "certificatesigningrequest-approving-controller"

    async def reconcile(self, key: str) -> float | None:
        request = self._requests.get(key)
        if request is None or _conditions(request) or (request.get("status") or {}).get("certificate"):
            return None
        spec = request["spec"]
        asked = signing.parse(base64.b64decode(spec["request"]))
        is_kubelet = spec["signerName"] == signing.KUBELET_CLIENT
        if not is_kubelet or signing.fault(signing.KUBELET_CLIENT, asked, spec.get("usages") or ()):
            return None
        for subresource, message in _RECOGNIZED:
            if subresource == "selfnodeclient" and spec.get("username") != asked.common_name:
                continue
            if await self._may(spec, subresource):
                await self._approve(request, message)
                return None
        return ASK_AGAIN_S

    async def _may(self, spec: Mapping[str, Any], subresource: str) -> bool:
        attributes = {
            "group": "certificates.k8s.io",
            "resource": "certificatesigningrequests",
            "verb": "create",
            "subresource": subresource,
            "version": "*",
        }
        review: Object = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "metadata": {},
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": attributes,
            },
        }
        return bool((await self.client.create(SUBJECT_ACCESS_REVIEWS, review))["status"].get("allowed"))

    async def _approve(self, request: Object, message: str) -> None:
        now = format_time(self.clock.now())
        condition = {
            "type": "Approved",
            "status": "True",
            "reason": "AutoApproved",
            "message": message,
            "lastUpdateTime": now,
        }
        status = {**(request.get("status") or {}), "conditions": [condition]}
        await self.client.update(CERTIFICATE_SIGNING_REQUESTS, {**request, "status": status}, subresource="approval")


class SigningRequestSigner(_SigningRequests):
    """Signs what was approved, with the authorities that the options name; without one, nothing."""

    name = "certificatesigningrequest-signing-controller"

    async def reconcile(self, key: str) -> float | None:
        request, options = self._requests.get(key), self.context.options
        if request is None or not _is_to_sign(request):
            return None
        files = options.signing_files.get(request["spec"]["signerName"])
        if files is None:
            return None
        spec, status = request["spec"], dict(request.get("status") or {})
        pem = base64.b64decode(spec["request"])
        usages = spec.get("usages") or ()
        if problem := signing.fault(spec["signerName"], signing.parse(pem), usages):
            now = format_time(self.clock.now())
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": problem,
                "lastUpdateTime": now,
                "lastTransitionTime": now,
            }
            status["conditions"] = [*_conditions(request), failed]
        else:
            lifetime_s = signing.lifetime_s(spec.get("expirationSeconds"), options.signing_duration_s)
            # Read every time: requests are few, and an authority that was replaced is used at once.
            authority, own = (Path(file).read_bytes() for file in files)
            signed = signing.sign(pem, usages, lifetime_s, authority, own, self.clock.now())
            status["certificate"] = base64.b64encode(signed).decode()
        await self.client.update_status(CERTIFICATE_SIGNING_REQUESTS, {**request, "status": status})
        return None


class SigningRequestCleaner(_SigningRequests):
    """Removes requests that are over, and those that nobody decides."""

    name = "certificatesigningrequest-cleaner-controller"
    workers = 1

    async def reconcile(self, key: str) -> float | None:
        request = self._requests.get(key)
        if request is None:
            return None
        if is_over(request, self.clock.now()):
            await self.client.delete(CERTIFICATE_SIGNING_REQUESTS, "", key)
            return None
        return POLL_S


def _conditions(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((request.get("status") or {}).get("conditions") or ())


def _is_to_sign(request: Mapping[str, Any]) -> bool:
    conditions, status = _conditions(request), request.get("status") or {}
    return (
        is_condition_true(conditions, "Approved")
        and not is_condition_true(conditions, "Denied")
        and not is_condition_true(conditions, "Failed")
        and not status.get("certificate")
    )


def is_over(request: Mapping[str, Any], now: float) -> bool:
    """Whether a request may go: decided an hour ago, expired, or left alone for a day."""
    conditions = _conditions(request)
    issued = (request.get("status") or {}).get("certificate")
    if not conditions:
        return now - parse_time(request["metadata"]["creationTimestamp"]) > PENDING_S
    for condition in conditions:
        age_s = now - parse_time(condition["lastUpdateTime"]) if condition.get("lastUpdateTime") else 0.0
        if condition["type"] in ("Denied", "Failed") and age_s > DECIDED_S:
            return True
        if condition["type"] == "Approved":
            if age_s > (DECIDED_S if issued else PENDING_S):
                return True
            if issued and _is_expired(issued, now):
                return True
    return False


def _is_expired(issued: str, now: float) -> bool:
    blocks = certificate.pem_blocks(base64.b64decode(issued))
    return bool(blocks) and now > certificate.read(blocks[0]).not_after
