"""Telling the user what happened to an object, as core/v1 Events.

`event` never waits: it puts the event into a bounded queue, and drops it when that is full. `run` correlates and sends: an event like
an earlier one becomes a PATCH of its count; of many that differ only in their message one is kept ("combined from similar events");
a source that says too much about one object is cut short. Limits are those of client-go `tools/record`.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pilothouse.api import status
from pilothouse.api.gvr import CORE_EVENTS, GVR
from pilothouse.api.meta import Object, format_time, object_reference
from pilothouse.client.client import Client, PatchType
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.workqueue import TokenBucket

NORMAL = "Normal"
WARNING = "Warning"

QUEUE_EVENTS = 1000
CACHE_ENTRIES = 4096
AGGREGATE_EVENTS = 10
AGGREGATE_INTERVAL_S = 600.0
SPAM_BURST = 25
SPAM_PER_SECOND = 1 / 300
TRIES = 12
RETRY_S = 10.0

log = get_logger("pilothouse.client.events")

Key = tuple[str, ...]
V = TypeVar("V")


class EventRecorder:
    """Records events of one component. `component` and `host` become the events' source and reporting fields."""

    def __init__(
        self, client: Client, component: str, host: str, clock: Clock, *, rng: random.Random | None = None
    ) -> None:
        self._client = client
        self._source = {"component": component} | ({"host": host} if host else {})
        self._component = component
        self._host = host
        self._clock = clock
        self._rng = rng or random.Random()
        self._queue: asyncio.Queue[Object] = asyncio.Queue(QUEUE_EVENTS)
        self._correlator = Correlator(clock)
        self._last_nanos = 0
        self._nanos_offset = zlib.crc32(f"{component}/{host}".encode()) % 1_000_000

    def event(
        self,
        obj: Mapping[str, Any],
        gvr: GVR,
        type: str,
        reason: str,
        message: str,
        *,
        field_path: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Record that `reason` happened to `obj`, of kind `gvr`. `type` is Normal or Warning; `field_path` names a part of it."""
        reference = object_reference(obj, gvr)
        if field_path:
            reference["fieldPath"] = field_path
        self.about(reference, type, reason, message, annotations=annotations)

    def about(
        self,
        reference: Mapping[str, Any],
        type: str,
        reason: str,
        message: str,
        *,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """The same for an object of which only the ObjectReference is at hand."""
        now = format_time(self._clock.now())
        metadata: Object = {
            "name": f"{reference['name']}.{self._nanos():x}",
            "namespace": reference.get("namespace") or "default",
        }
        if annotations:
            metadata["annotations"] = dict(annotations)
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": dict(reference),
            "reason": reason,
            "message": message,
            "source": self._source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": type,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event dropped: too many are waiting", reason=reason, object=reference["name"])

    async def run(self) -> None:
        """Send events until cancelled."""
        while True:
            event = await self._queue.get()
            correlated = self._correlator.correlate(event)
            if correlated is not None:
                await self._send(correlated)

    async def _send(self, correlated: Correlated) -> None:
        for attempt in range(TRIES):
            try:
                self._correlator.learn(correlated.key, await self._write(correlated))
                return
            except (status.ServiceUnavailable, status.Timeout, status.TooManyRequests, status.ServerTimeout) as error:
                reason = error.message
            except status.StatusError as error:
                # The server has refused it (the namespace is going, for example): trying again cannot help.
                log.debug("event refused", reason=error.message)
                return
            if attempt + 1 < TRIES:
                await self._clock.sleep(RETRY_S * (self._rng.random() if attempt == 0 else 1))
        log.warning("event lost", reason=reason)

    async def _write(self, correlated: Correlated) -> Object:
        metadata = correlated.event["metadata"]
        if correlated.patch is not None:
            try:
                return await self._client.patch(
                    CORE_EVENTS, metadata["namespace"], metadata["name"], correlated.patch, type=PatchType.STRATEGIC
                )
            except status.NotFound:
                # The server forgets events after a while; then it is told anew.
                metadata["name"] = f"{correlated.event['involvedObject']['name']}.{self._nanos():x}"
        return await self._client.create(CORE_EVENTS, correlated.event)

    def _nanos(self) -> int:
        nanos = int(self._clock.now() * 1_000_000_000) + self._nanos_offset
        self._last_nanos = max(nanos, self._last_nanos + 1)
        return self._last_nanos


@dataclass(frozen=True, slots=True)
class Correlated:
    """What is to be sent: `event` as a whole, or `patch` to the event of its name that the server has. `key` is for `learn`."""

    event: Object
    patch: Object | None
    key: Key


@dataclass(slots=True)
class _Similar:
    last_s: float
    messages: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Sent:
    name: str
    count: int
    first_timestamp: str


class Correlator:
    """Decides what becomes of an event in the light of the earlier ones. Does no I/O."""

    def __init__(self, clock: Clock, *, entries: int = CACHE_ENTRIES) -> None:
        self._clock = clock
        self._similar: _Recent[_Similar] = _Recent(entries)
        self._sent: _Recent[_Sent] = _Recent(entries)
        self._budgets: _Recent[TokenBucket] = _Recent(entries)

    def correlate(self, event: Object) -> Correlated | None:
        """What to send for `event`; None if its source has said too much."""
        event, key = self._aggregate(event)
        patch: Object | None = None
        if (sent := self._sent.get(key)) is not None:
            event["metadata"]["name"] = sent.name
            event["count"] = sent.count + 1
            event["firstTimestamp"] = sent.first_timestamp
            patch = {name: event[name] for name in ("count", "lastTimestamp", "message")}
            self._sent.put(key, _Sent(sent.name, sent.count + 1, sent.first_timestamp))
        return None if self._is_spam(event) else Correlated(event, patch, key)

    def learn(self, key: Key, event: Mapping[str, Any]) -> None:
        """Take note of the server's answer."""
        sent = _Sent(event["metadata"]["name"], event.get("count") or 1, event.get("firstTimestamp") or "")
        self._sent.put(key, sent)

    def _aggregate(self, event: Object) -> tuple[Object, Key]:
        subject = _subject(event)
        similar_key = (*subject, event["type"], event["reason"])
        now = self._clock.monotonic()
        similar = self._similar.get(similar_key)
        if similar is None or now - similar.last_s > AGGREGATE_INTERVAL_S:
            similar = _Similar(now)
        similar.last_s = now
        similar.messages.add(event["message"])
        self._similar.put(similar_key, similar)
        if len(similar.messages) < AGGREGATE_EVENTS:
            field_path = event["involvedObject"].get("fieldPath", "")
            return event, (*similar_key, field_path, event["message"])
        similar.messages.pop()
        combined = {**event, "message": f"(combined from similar events): {event['message']}", "count": 1}
        combined["metadata"] = dict(event["metadata"])
        return combined, similar_key

    def _is_spam(self, event: Object) -> bool:
        key = (*_subject(event), event["type"])
        budget = self._budgets.get(key)
        if budget is None:
            budget = TokenBucket(self._clock, per_second=SPAM_PER_SECOND, burst=SPAM_BURST)
            self._budgets.put(key, budget)
        return not budget.try_take()


def _subject(event: Object) -> Key:
    source, involved = event["source"], event["involvedObject"]
    return (
        source["component"],
        source.get("host", ""),
        *(involved.get(name, "") for name in ("kind", "namespace", "name", "uid", "apiVersion")),
    )


class _Recent(Generic[V]):
    """The most recently used entries, up to a number."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._values: OrderedDict[Key, V] = OrderedDict()

    def get(self, key: Key) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._entries:
            self._values.popitem(last=False)
