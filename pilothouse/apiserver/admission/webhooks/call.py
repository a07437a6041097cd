"""One call of one webhook: the AdmissionReview that goes out, and what is made of the one that comes back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pilothouse.api import json_text, status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.apiserver.admission.review import admission_request, object_at
from pilothouse.apiserver.admission.webhooks.source import Hook
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.decode import json_type
from pilothouse.apiserver.webhooks.client import CallFailed, WebhookClient

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")


class Denied(Exception):
    """The webhook says no."""

    def __init__(self, error: status.StatusError) -> None:
        super().__init__(error.message)
        self.error = error


async def call(
    client: WebhookClient, hook: Hook, attributes: Attributes, gvr: GVR, uid: str, *, is_mutating: bool
) -> list[Any]:
    """The JSON patch that the webhook wants; empty for none. Raises Denied, CallFailed, BadRequest."""
    if attributes.is_dry_run and not hook.allows_dry_run:
        raise status.BadRequest(f'admission webhook "{hook.name}" does not support dry run')
    version = next((each for each in hook.review_versions if each in VERSIONS), None)
    if version is None:
        raise CallFailed(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
        )
    api_version = f"{GROUP}/{version}"
    request = {
        "uid": uid,
        **admission_request(attributes, gvr),
        "object": await object_at(attributes.obj, attributes, gvr),
        "oldObject": await object_at(attributes.old, attributes, gvr),
        "options": dict(attributes.options) or None,
    }
    review = {"kind": "AdmissionReview", "apiVersion": api_version, "request": request}
    try:
        answer = await client.post(hook.client_config, review, hook.timeout_s)
    except CallFailed as error:
        raise CallFailed(f"failed to call webhook: {error}") from None
    _check_form(answer, api_version)
    try:
        response = verified(answer, uid, api_version, is_mutating=is_mutating)
    except CallFailed as error:
        raise CallFailed(f"received invalid webhook response: {error}") from None
    patch = _patch(response)
    for key, value in (response.get("auditAnnotations") or {}).items():
        attributes.annotations[f"{hook.name}/{key}"] = str(value)
    attributes.warnings += (str(warning) for warning in response.get("warnings") or ())
    if not response.get("allowed"):
        raise Denied(denial(hook.name, response.get("status")))
    return patch


def verified(answer: Mapping[str, Any], uid: str, api_version: str, *, is_mutating: bool) -> Mapping[str, Any]:
    """The response in an AdmissionReview. Raises CallFailed."""
    response = answer.get("response")
    if not isinstance(response, Mapping):
        raise CallFailed("webhook response was absent")
    if api_version == f"{GROUP}/v1":
        if response.get("uid") != uid:
            raise CallFailed(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        found = f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
        if found != f"{api_version}, Kind=AdmissionReview":
            raise CallFailed(f"expected webhook response of {api_version}, Kind=AdmissionReview, got {found}")
        patch, type_ = response.get("patch"), response.get("patchType")
        if not is_mutating:
            if patch:
                raise CallFailed("validating webhook may not return response.patch")
            if type_ is not None:
                raise CallFailed("validating webhook may not return response.patchType")
        elif patch and type_ is None:
            raise CallFailed("webhook returned response.patch but not response.patchType")
        elif not patch and type_ is not None:
            raise CallFailed("webhook returned response.patchType but not response.patch")
    return response


def _check_form(answer: Mapping[str, Any], api_version: str) -> None:
    """Raises CallFailed for what is not the review that was asked for, as upstream's decoder says it."""
    said, kind = answer.get("apiVersion", ""), answer.get("kind", "")
    if said == api_version and kind == "AdmissionReview":
        return
    if kind == "AdmissionReview" and said in (f"{GROUP}/{version}" for version in VERSIONS):
        known, wanted = said.rpartition("/")[2], api_version.rpartition("/")[2]
        why = f"converting ({known}.AdmissionReview) to ({wanted}.AdmissionReview): unknown conversion"
    elif not kind or not said:
        # Nothing is said: what there is is taken for what was asked for.
        return
    else:
        why = f'no kind "{kind}" is registered for version "{said}" in scheme "k8s.io/apiserver/pkg/util/webhook/client.go:71"'
    raise CallFailed(f"failed to call webhook: {why}")


def _patch(response: Mapping[str, Any]) -> list[Any]:
    text = response.get("patch")
    if not text or not response.get("allowed"):
        return []
    try:
        decoded = base64.b64decode(text, validate=True)
    except (ValueError, TypeError, binascii.Error):
        raise CallFailed("failed to call webhook: illegal base64 data at input byte 0") from None
    try:
        patch = json_text.read(decoded)
    except json_text.Fault as fault:
        raise _undecodable(str(fault)) from None
    if patch is not None and not isinstance(patch, list):
        raise _undecodable(f"json: cannot unmarshal {json_type(patch)} into Go value of type jsonpatch.Patch")
    for operation in patch or ():
        if not isinstance(operation, dict):
            raise _undecodable(
                f"json: cannot unmarshal {json_type(operation)} into Go value of type jsonpatch.Operation"
            )
    type_ = response.get("patchType") or "JSONPatch"
    if type_ != "JSONPatch":
        raise CallFailed(f'unsupported patch type "{type_}"')
    return patch or []


def _undecodable(why: str) -> CallFailed:
    return CallFailed(f"received undecodable patch in webhook response: {why}")


def denial(name: str, result: Any) -> status.StatusError:
    """The error that a webhook's Status asks for."""
    found: Object = dict(result) if isinstance(result, Mapping) else {}
    head = f'admission webhook "{name}" denied the request'
    message, reason = found.get("message") or "", found.get("reason") or ""
    code = found.get("code")
    if not isinstance(code, int) or not 400 <= code <= 999:
        code = 400
    details = found.get("details")
    why = message or reason
    return status.from_object(
        {
            "message": f"{head}: {why}" if why else f"{head} without explanation",
            "reason": reason,
            "code": code,
            "details": details if isinstance(details, dict) else {},
        }
    )


def failure(hook: Hook, error: CallFailed) -> status.InternalError:
    why = f'failed calling webhook "{hook.name}": {error}'
    return status.InternalError(f"Internal error occurred: {why}", causes=(status.Cause("", why),))
