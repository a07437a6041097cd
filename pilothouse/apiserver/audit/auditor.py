"""Makes an event for each stage of a request that the policy wants recorded, and hands it to the sinks.

Source: apiserver `pkg/endpoints/filters/{audit,authn_audit}.go`, `pkg/audit/{context,request}.go`.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from pilothouse.api.meta import Object, format_micro_time
from pilothouse.api.status import StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.audit.event import Event, begin
from pilothouse.apiserver.audit.policy import Decision, Policy
from pilothouse.apiserver.audit.sink import Losses, Sink
from pilothouse.apiserver.authn.bearer import ANNOTATIONS
from pilothouse.apiserver.decode import decode
from pilothouse.apiserver.errors import FilterFailed
from pilothouse.apiserver.route import RequestInfo
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family, labelled

_SLOW_S = 0.5
"""Requests that take longer say in an annotation how long."""
_GOING_ON = frozenset({"watch", "proxy", "attach", "exec", "log", "portforward"})
"""Verbs and subresources."""
_REFERENCE = ("namespace", "name", "uid", "resourceVersion")
log = get_logger("pilothouse.apiserver.audit")


class Record:
    """One request's record. Links of the chain write `annotations`, and tell `sent` which object the client sent."""

    def __init__(self, request: Request, decision: Decision, event: Object, now: float) -> None:
        self.request = request
        self.decision = decision
        self.event = event
        self.annotations: dict[str, str] = {}
        self.began = now
        self.is_refused = False
        self.goes_on = False
        """Whether it is of a kind that goes on: then the answer has a beginning and an end also where it is short."""
        self._has_sent = False

    def sent(self, document: Any) -> None:
        """Take note of the object, or patch, as it was decoded. The first one counts."""
        if self._has_sent:
            return
        self._has_sent = True
        reference = self.event.get("objectRef")
        if reference is not None and isinstance(document, dict) and isinstance(document.get("metadata"), dict):
            metadata = document["metadata"]
            for field in _REFERENCE:
                if metadata.get(field):
                    reference.setdefault(field, metadata[field])
        if self.decision.has_request:
            self.event["requestObject"] = _Encoded(orjson.dumps(self._recorded(document)))

    def sent_otherwise(self) -> None:
        """Take note of the body of a request that was granted and that nobody decoded for the record."""
        if not self._has_sent and self.decision.has_request and self.request.body:
            document = _decoded(self.request.body, self.request.headers)
            if document is not None:
                self.sent(document)

    def answered(self, response: Response) -> None:
        self.event["responseStatus"] = {"metadata": {}, "code": response.status}
        if not isinstance(response.body, bytes) or response.takeover is not None:
            return
        if response.status < 300 and not self.decision.has_response:
            return
        answer = _decoded(_plain(response), response.headers)
        if not isinstance(answer, dict):
            return
        if answer.get("kind") == "Status":
            kept = ("status", "message", "reason", "details")
            self.event["responseStatus"] |= {key: answer[key] for key in kept if key in answer}
        if self.decision.has_response:
            self.event["responseObject"] = self._recorded(answer)

    def _recorded(self, document: Any) -> Any:
        """Without managed fields, where they are not wanted."""
        if not self.decision.omits_managed_fields or not isinstance(document, dict):
            return document
        bare = _without_managed_fields(document)
        if isinstance(document.get("items"), list):
            bare["items"] = [_without_managed_fields(item) for item in document["items"]]
        if isinstance(document.get("rows"), list):
            rows = [{**row, "object": _without_managed_fields(row.get("object"))} for row in document["rows"]]
            bare["rows"] = rows
        return bare


_Encoded = orjson.Fragment


class Auditor:
    """Records by `policy` into `sinks`. `counts` are the events made, and `levels` the requests by how much is recorded of them."""

    def __init__(self, policy: Policy, sinks: Sequence[Sink], losses: Losses, clock: Clock) -> None:
        self._policy = policy
        self._sinks = tuple(sinks)
        self._clock = clock
        self.losses = losses
        self.events = self.rejected = 0
        self.levels: dict[str, int] = {}

    async def run(self) -> None:
        """Keep the sinks at work, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for sink in self._sinks:
                tasks.create_task(sink.run())

    def families(self) -> Iterable[Family]:
        """For `/metrics`. Source: apiserver `pkg/audit/metrics.go`."""
        prefix = "apiserver_audit_"
        help = "[ALPHA] Counter of audit events generated and sent to the audit backend."
        yield Family(f"{prefix}event_total", "counter", help).add(self.events)
        yield labelled(
            f"{prefix}error_total",
            "counter",
            "[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
            ("plugin",),
            {(plugin,): count for plugin, count in self.losses.counts.items()},
        )
        yield labelled(
            f"{prefix}level_total",
            "counter",
            "[ALPHA] Counter of policy levels for audit events (1 per request).",
            ("level",),
            {(level,): count for level, count in self.levels.items()},
        )
        help = "[ALPHA] Counter of apiserver requests rejected due to an error in audit logging backend."
        yield Family(f"{prefix}requests_rejected_total", "counter", help).add(self.rejected)

    async def received(self, audit_id: str, request: Request, info: RequestInfo, user: User) -> Record | None:
        """Take note of a request. None if it is not recorded. Raises FilterFailed if it must be and cannot."""
        record = self._begin(audit_id, request, info, user)
        if record is None:
            return None
        record.annotations.update(request.context.get(ANNOTATIONS) or {})
        if not await self._process(record, "RequestReceived"):
            self.rejected += 1
            raise FilterFailed("failed to store audit event")
        return record

    def refused(self, audit_id: str, request: Request, info: RequestInfo) -> Record | None:
        """Take note of a request whose sender did not prove who he is. None if it is not recorded."""
        record = self._begin(audit_id, request, info, None)
        if record is not None:
            record.is_refused = True
        return record

    def impersonated(self, record: Record, user: User, constraint: str) -> None:
        """Take note of whom the request is done as, and of the verb that restricts it."""
        record.event["impersonatedUser"] = user.to_object()
        if constraint:
            record.event["authenticationMetadata"] = {"impersonationConstraint": constraint}

    async def answered(self, record: Record, response: Response) -> None:
        """Take note of the answer; of one that goes on, also of its end."""
        if response.status < 400:
            record.sent_otherwise()
        record.answered(response)
        if record.is_refused:
            await self._process(record, "ResponseStarted")
            return
        if isinstance(response.body, bytes) and response.takeover is None:
            if record.goes_on:
                await self._process(record, "ResponseStarted")
            await self._complete(record)
            return
        await self._process(record, "ResponseStarted")

        async def complete() -> None:
            await self._complete(record)

        if response.takeover is not None:
            take_over = response.takeover

            async def recorded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await take_over(reader, writer)
                finally:
                    await complete()

            response.takeover = recorded
        elif not isinstance(response.body, bytes):
            response.body = _Recorded(response.body, complete)

    def _begin(self, audit_id: str, request: Request, info: RequestInfo, user: User | None) -> Record | None:
        decision = self._policy.decide(user, info)
        self.levels[decision.level] = self.levels.get(decision.level, 0) + 1
        if decision.level == "None":
            return None
        now = self._clock.now()
        record = Record(request, decision, begin(audit_id, request, info, user, decision.level, now), now)
        record.goes_on = info.is_resource and (info.verb in _GOING_ON or info.subresource in _GOING_ON)
        return record

    async def _complete(self, record: Record) -> None:
        took_s = self._clock.now() - record.began
        if took_s > _SLOW_S:
            record.annotations.setdefault("apiserver.latency.k8s.io/total", _shown(took_s))
        await self._process(record, "ResponseComplete")

    async def _process(self, record: Record, stage: str) -> bool:
        if stage in record.decision.omitted_stages:
            return True
        is_first = stage == "RequestReceived"
        at = record.event["requestReceivedTimestamp"] if is_first else format_micro_time(self._clock.now())
        obj = {**record.event, "stage": stage, "stageTimestamp": at}
        if record.annotations:
            obj["annotations"] = dict(record.annotations)
        event = Event(obj)
        self.events += 1
        kept = [await sink.process([event]) for sink in self._sinks]
        return all(kept)


class _Recorded:
    """A body whose end is told, once."""

    def __init__(self, body: AsyncIterator[bytes], complete: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._complete: Callable[[], Awaitable[None]] | None = complete

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._body.__anext__()
        except BaseException:
            await self._end()
            raise

    async def aclose(self) -> None:
        await self._end()
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()

    async def _end(self) -> None:
        complete, self._complete = self._complete, None
        if complete is not None:
            await complete()


def _without_managed_fields(obj: Any) -> Any:
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        return dict(obj) if isinstance(obj, dict) else obj
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _plain(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    if response.headers.get("content-encoding") == "gzip":
        return gzip.decompress(response.body)
    return response.body


def _decoded(body: bytes, headers: Mapping[str, str]) -> Any:
    """The document in a body, whatever its encoding; None for one that is no object."""
    if body[:1] in b"{[" and body:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
    try:
        return decode(body, headers, "")[0] if body else None
    except StatusError:
        return None


def _shown(seconds: float) -> str:
    """As Go shows a duration: `1.5s`, `600ms`."""
    return (
        f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
        if seconds >= 1
        else f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
    )
