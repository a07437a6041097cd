"""The one error tree: each class is a `reason` of Kubernetes' Status object.

Every layer raises these; foreign errors are mapped to them at the boundary where they arise. `to_object` gives the body that goes
over the wire and `from_object` the error that a client raises for it. Source: apimachinery `pkg/api/errors`, `meta/v1/types.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One detail of a failure. `reason` is a cause type such as `FieldValueInvalid`; `field` is a path such as `spec.replicas`."""

    reason: str
    message: str
    field: str = ""

    def to_object(self) -> dict[str, str]:
        return {
            key: value
            for key, value in (("reason", self.reason), ("message", self.message), ("field", self.field))
            if value
        }


class StatusError(Exception):
    """A failed request, as a Status object describes it."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = ""
    has_details: bool = False
    """Whether details are written though there are none."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str | None = None,
        group: str = "",
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int = 0,
        continue_token: str = "",
        has_details: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = self.code if code is None else code
        self.status_reason = self.reason if reason is None else reason
        self.group = group
        self.kind = kind
        self.name = name
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s
        self.continue_token = continue_token
        """With which a list that expired can go on, at the price of consistency."""
        if has_details:
            self.has_details = True

    def to_object(self) -> dict[str, Any]:
        """The Status object that is sent for this error."""
        details: dict[str, Any] = {
            key: value
            for key, value in (("name", self.name), ("group", self.group), ("kind", self.kind), ("uid", self.uid))
            if value
        }
        if self.causes:
            details["causes"] = [cause.to_object() for cause in self.causes]
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
        }
        if self.status_reason:
            status["reason"] = self.status_reason
        if details or self.has_details:
            status["details"] = details
        status["code"] = self.status_code
        return status


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    code, reason = 409, "AlreadyExists"


class Conflict(StatusError):
    code, reason = 409, "Conflict"


class Gone(StatusError):
    code, reason = 410, "Gone"


class Expired(StatusError):
    """A resourceVersion or continue token that is older than what is kept."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    """An object that does not pass validation; `causes` names every fault with its field path."""

    code, reason = 422, "Invalid"


class TooManyRequests(StatusError):
    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(StatusError):
    code, reason = 503, "ServiceUnavailable"


class ServerTimeout(StatusError):
    """The server could not finish in time; the client may try again."""

    code, reason = 500, "ServerTimeout"


class Timeout(StatusError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[StatusError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone, Expired,
        RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable,
        ServerTimeout, Timeout,
    )
}  # fmt: skip


def from_object(status: dict[str, Any]) -> StatusError:
    """The error that a Status object describes."""
    details = status.get("details") or {}
    reason = status.get("reason", "")
    return _BY_REASON.get(reason, StatusError)(
        status.get("message", "") or reason or "unknown error",
        code=status.get("code", 500),
        reason=reason,
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        name=details.get("name", ""),
        uid=details.get("uid", ""),
        causes=[
            Cause(cause.get("reason", ""), cause.get("message", ""), cause.get("field", ""))
            for cause in details.get("causes") or ()
        ],
        retry_after_s=details.get("retryAfterSeconds", 0),
    )


def not_found(plural: str, group: str, name: str) -> NotFound:
    """`pods "web" not found`."""
    return NotFound(f'{_qualified(plural, group)} "{name}" not found', group=group, kind=plural, name=name)


def already_exists(plural: str, group: str, name: str) -> AlreadyExists:
    """`pods "web" already exists`."""
    return AlreadyExists(f'{_qualified(plural, group)} "{name}" already exists', group=group, kind=plural, name=name)


def conflict(plural: str, group: str, name: str, why: str) -> Conflict:
    """`Operation cannot be fulfilled on pods "web": …`."""
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return Conflict(message, group=group, kind=plural, name=name)


def forbidden(plural: str, group: str, name: str, why: str) -> Forbidden:
    """`pods "web" is forbidden: …`; the name is left out where there is none."""
    subject = f'{_qualified(plural, group)} "{name}"' if name else _qualified(plural, group)
    return Forbidden(f"{subject} is forbidden: {why}", group=group, kind=plural, name=name)


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


OBJECT_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
"""Why an update with an old resourceVersion conflicts. Clients match on this text."""


def aggregate(messages: Iterable[str]) -> str:
    """Several failures in one text, each once: `[a, b]`, as upstream puts them together."""
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]" if unique else ""
