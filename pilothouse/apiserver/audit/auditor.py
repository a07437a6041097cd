"""Writes an event for each stage of a request that the policy wants recorded.

Source: apiserver `pkg/endpoints/filters/audit.go`, `pkg/audit/request.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from pilothouse.api.meta import Object, format_micro_time
from pilothouse.api.status import StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.audit.log_file import LogFile
from pilothouse.apiserver.audit.policy import Decision, Policy
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import decode
from pilothouse.apiserver.negotiate import PROTOBUF, YAML
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Response
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.apiserver.audit")


class Record:
    """One request's record."""

    def __init__(self, call: Call, decision: Decision, event: Object) -> None:
        self.call = call
        self.decision = decision
        self.event = event


class Auditor:
    """Records by `policy` into `file`; what cannot be written is told in the server's log, and the request goes on."""

    def __init__(self, policy: Policy, file: LogFile, clock: Clock) -> None:
        self._policy = policy
        self._file = file
        self._clock = clock

    def received(self, audit_id: str, call: Call, requestor: User) -> Record | None:
        """Take note of a request; `requestor` is who sent it, before impersonation. None if it is not recorded."""
        decision = self._policy.decide(requestor, call.info)
        if decision.level == "None":
            return None
        record = Record(call, decision, _event(audit_id, call, requestor, decision, self._clock.now()))
        self._write(record, "RequestReceived")
        return record

    def answered(self, record: Record, response: Response) -> None:
        """Take note of the answer; of one that goes on, also of its end."""
        decision, event = record.decision, record.event
        event["responseStatus"] = {"metadata": {}, "code": response.status}
        if decision.has_request and (sent := _sent(record.call, decision)) is not None:
            event["requestObject"] = sent
        if isinstance(response.body, bytes) and response.takeover is None:
            answer = _json(response.body, decision)
            if isinstance(answer, dict) and answer.get("kind") == "Status":
                event["responseStatus"] |= {
                    key: answer[key] for key in ("status", "message", "reason", "details") if key in answer
                }
            if decision.has_response and answer is not None:
                event["responseObject"] = answer
            self._write(record, "ResponseComplete")
            return
        self._write(record, "ResponseStarted")

        def complete() -> None:
            self._write(record, "ResponseComplete")

        if response.takeover is not None:
            take_over = response.takeover

            async def recorded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await take_over(reader, writer)
                finally:
                    complete()

            response.takeover = recorded
        elif not isinstance(response.body, bytes):
            response.body = _Recorded(response.body, complete)

    def _write(self, record: Record, stage: str) -> None:
        if stage in record.decision.omitted_stages:
            return
        stamped = {"stage": stage, "stageTimestamp": format_micro_time(self._clock.now())}
        try:
            self._file.write(orjson.dumps({**record.event, **stamped}, option=orjson.OPT_APPEND_NEWLINE))
        except (OSError, ValueError) as error:
            log.error("an audit event is lost", audit_id=record.event["auditID"], error=str(error))


class _Recorded:
    """A body whose end is told, once."""

    def __init__(self, body: AsyncIterator[bytes], complete: Callable[[], None]) -> None:
        self._body = body
        self._complete: Callable[[], None] | None = complete

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._body.__anext__()
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        self._end()
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()

    def _end(self) -> None:
        complete, self._complete = self._complete, None
        if complete is not None:
            complete()


def _event(audit_id: str, call: Call, requestor: User, decision: Decision, now: float) -> Object:
    request, info = call.request, call.info
    event: Object = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": decision.level,
        "auditID": audit_id,
        "stage": "",
        "requestURI": f"{request.path}?{request.query}" if request.query else request.path,
        "verb": info.verb,
        "user": requestor.to_object(),
    }
    if call.user is not requestor:
        event["impersonatedUser"] = call.user.to_object()
    if sources := _sources(request.headers.get("x-forwarded-for", ""), request.peer.address):
        event["sourceIPs"] = sources
    if agent := request.headers.get("user-agent"):
        event["userAgent"] = agent
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


def _sources(forwarded: str, address: str) -> list[str]:
    """The addresses that the request is said to have come through, and the one that it came from."""
    sources = [text.strip() for text in forwarded.split(",") if text.strip()]
    return list(dict.fromkeys([*sources, address] if address else sources))


def _sent(call: Call, decision: Decision) -> Any:
    """The object that the client sent, in whatever encoding; None if there is none that can be read."""
    request = call.request
    if not request.body or request.headers.get("content-type", "") not in (YAML, PROTOBUF):
        return _json(request.body, decision)
    try:
        return _json(orjson.dumps(decode(request.body, request.headers, "")[0]), decision)
    except StatusError:
        return None


def _json(body: bytes, decision: Decision) -> Any:
    """The document in a body; None for one that is not JSON."""
    if not body or body[:1] not in b"{[":
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if decision.omits_managed_fields and isinstance(document, dict):
        for obj in (document, *(document.get("items") or ())):
            if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
                obj["metadata"].pop("managedFields", None)
    return document
