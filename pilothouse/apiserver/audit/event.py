"""An audit event: what is known of a request at one of its stages, in the forms in which it is written.

Source: apiserver `pkg/audit/{request,format}.go`, `plugin/pkg/audit/truncate`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property

import orjson

from pilothouse.api.meta import Object, format_micro_time
from pilothouse.api.user import User
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.http.message import Request

VERSION = "audit.k8s.io/v1"
TRUNCATED = "audit.k8s.io/truncated"
_MAX_AGENT = 1024


class Event:
    """One stage of one request; never changed."""

    def __init__(self, obj: Object) -> None:
        self.obj = obj

    @cached_property
    def json(self) -> bytes:
        return orjson.dumps(self.obj)

    def without_objects(self) -> Event:
        """The same without the objects that were sent and answered, and with a mark that says so."""
        kept = {key: value for key, value in self.obj.items() if key not in ("requestObject", "responseObject")}
        return Event({**kept, "annotations": {**(self.obj.get("annotations") or {}), TRUNCATED: "true"}})

    @cached_property
    def legacy(self) -> bytes:
        """One line of text, without its end."""
        event = self.obj
        user, other = event.get("user") or {}, event.get("impersonatedUser")
        groups = _quoted(user.get("groups") or ()) if user.get("username") else ""
        as_groups = _quoted(other.get("groups") or ()) if other and other.get("groups") else "<lookup>"
        fields = {
            "id": event["auditID"],
            "stage": event["stage"],
            "ip": next(iter(event.get("sourceIPs") or ()), "<unknown>"),
            "method": event["verb"],
            "user": user.get("username") or "<none>",
            "groups": groups or "<none>",
            "as": other["username"] if other else "<self>",
            "asgroups": as_groups,
            "user-agent": event.get("userAgent", ""),
            "namespace": (event.get("objectRef") or {}).get("namespace") or "<none>",
            "uri": event["requestURI"],
        }
        told = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
        status = event.get("responseStatus")
        response = "<deferred>" if status is None else status.get("code", 0)
        return f'{event["requestReceivedTimestamp"]} AUDIT: {told} response="{response}"'.encode()


def _quoted(values: Sequence[str]) -> str:
    return ",".join(json.dumps(value, ensure_ascii=False) for value in values)


def begin(audit_id: str, request: Request, info: RequestInfo, user: User | None, level: str, now: float) -> Object:
    """What is known when a request arrives; without a user where nobody proved to be one."""
    event: Object = {
        "kind": "Event",
        "apiVersion": VERSION,
        "level": level,
        "auditID": audit_id,
        "stage": "",
        "requestURI": f"{request.path}?{request.query}" if request.query else request.path,
        "verb": info.verb,
        "user": {} if user is None else user.to_object(),
    }
    if sources := _sources(request):
        event["sourceIPs"] = sources
    if agent := request.headers.get("user-agent"):
        event["userAgent"] = agent if len(agent) <= _MAX_AGENT else f"{agent[:_MAX_AGENT]}...TRUNCATED"
    if info.is_resource:
        fields = {
            "resource": info.resource,
            "namespace": info.namespace,
            "name": info.name,
            "apiGroup": info.api_group,
            "apiVersion": info.api_version,
            "subresource": info.subresource,
        }
        event["objectRef"] = {key: value for key, value in fields.items() if value}
    event["requestReceivedTimestamp"] = format_micro_time(now)
    return event


def _sources(request: Request) -> list[str]:
    """The addresses that the request is said to have come through, and the one that it came from."""
    headers = request.headers
    told = [*headers.get("x-forwarded-for", "").split(","), headers.get("x-real-ip", ""), request.peer.address]
    return list(dict.fromkeys(text.strip() for text in told if text.strip()))
