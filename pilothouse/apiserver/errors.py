"""Failures as clients see them: every error becomes a Status object."""

from __future__ import annotations

import json
from http import HTTPStatus

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.status import (
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    ServiceUnavailable,
    StatusError,
    Timeout,
    UnsupportedMediaType,
    conflict,
)
from pilothouse.kit.http.message import Request, Response
from pilothouse.store.base import OutcomeUnknown, StoreUnavailable, ValueTooLarge

JSON_HEADERS = {"content-type": "application/json"}
_TEXT_HEADERS = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
_SANITIZED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class FilterFailed(Exception):
    """The chain itself failed before any verb was reached. Upstream answers that in plain text."""


class Unsniffable(StatusError):
    """A failure before any verb was reached. Its words may have a client's in them, which no browser shall take for a page."""


class Denied(Unsniffable, Forbidden):
    """The authorizer says no."""


class NotImpersonated(Unsniffable, BadRequest):
    """The request does not say as whom it is to be done."""


class PageNotFound(Exception):
    """Nothing serves the path. Upstream's router answers that, not the API: `page_not_found`."""


def filter_failure(request: Request, error: FilterFailed) -> Response:
    uri = f"{request.path}?{request.query}" if request.query else request.path
    text = f"Internal Server Error: {json.dumps(uri, ensure_ascii=False)}: {error}\n"
    return Response(500, _TEXT_HEADERS, text.translate(_SANITIZED).encode())


def error_response(error: StatusError) -> Response:
    headers = JSON_HEADERS
    if isinstance(error, Unsniffable):
        headers = {**headers, "x-content-type-options": "nosniff"}
    if error.retry_after_s:
        headers = {**headers, "retry-after": str(error.retry_after_s)}
    return Response(error.status_code, headers, orjson.dumps(error.to_object()) + b"\n")


def refusal(code: int, why: str) -> Response:
    """What the HTTP edge answers for a request that it cannot take in: a Status if upstream's API does, else the text of Go's server."""
    if code == 413:
        return error_response(RequestEntityTooLarge(f"Request entity too large: {why}"))
    if code == 504:
        return error_response(Timeout(f"Timeout: {why}"))
    if code == 500:
        return error_response(InternalError(f"Internal error occurred: {why}"))
    text = f"{code} {HTTPStatus(code).phrase}"
    return Response(code, {"content-type": "text/plain; charset=utf-8"}, (f"{text}: {why}" if why else text).encode())


def internal(why: str) -> InternalError:
    return InternalError(f"Internal error occurred: {why}")


def unavailable(error: StoreUnavailable) -> StatusError:
    """The store cannot write or be reached; its message says what a person can do.

    Where it is open whether a write was made the answer is 500, as upstream's is: no client tries that again by itself.
    """
    if isinstance(error, OutcomeUnknown):
        return internal(str(error))
    if isinstance(error, ValueTooLarge):
        return RequestEntityTooLarge(f"Request entity too large: {error}")
    return ServiceUnavailable(str(error), retry_after_s=2)


def not_acceptable(accepted: tuple[str, ...]) -> NotAcceptable:
    return NotAcceptable(f"only the following media types are accepted: {', '.join(accepted)}")


def no_representation(available: tuple[str, ...]) -> NotAcceptable:
    """For an `Accept` header that names nothing of what a path has; upstream's router answers it."""
    return NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(available)}", has_details=True)


def unsupported_media_type(accepted: tuple[str, ...]) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    )


class Rejected(Exception):
    """Flow control does not take the request; the client may try again after `retry_after_s`."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


def precondition_failed(gvr: GVR, namespace: str, name: str, field: str, wanted: str, found: str) -> Conflict:
    """For a write that is meant for another object of the same name, or another state of it."""
    key = "/".join(part for part in ("/registry", gvr.plural, namespace, name) if part)
    why = (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}"
    )
    return conflict(gvr.plural, gvr.group, name, why)


def could_not_find() -> StatusError:
    """The answer for a path that no resource and no handler serves."""
    return StatusError(
        "the server could not find the requested resource", code=404, reason="NotFound", has_details=True
    )


def method_not_allowed() -> MethodNotAllowed:
    return MethodNotAllowed("the server does not allow this method on the requested resource", has_details=True)


def page_not_found() -> Response:
    """For a path that nothing serves; upstream's router answers it, not the API."""
    return Response(404, _TEXT_HEADERS, b"404 page not found\n")
