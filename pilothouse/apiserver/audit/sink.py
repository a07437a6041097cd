"""Where events go: a file or a webhook, and what may stand before one. Source: apiserver `pkg/server/options/audit.go`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from pilothouse.apiserver.audit.event import VERSION, Event
from pilothouse.apiserver.audit.log_file import LogFile
from pilothouse.apiserver.webhooks.remote import RemoteFailed, RemoteWebhook
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.apiserver.audit")


class Losses:
    """How many events were lost, by where."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def lost(self, where: str, why: object, events: Sequence[Event]) -> None:
        """Count them, and tell which they are in the server's own log."""
        self.counts[where] = self.counts.get(where, 0) + len(events)
        for event in events:
            log.error("an audit event is lost", plugin=where, error=str(why), lost=event.legacy.decode())


class Sink(Protocol):
    async def process(self, events: Sequence[Event]) -> bool:
        """Take events; False if not all of them could be kept, which has been told already."""

    async def run(self) -> None:
        """Work until cancelled; then finish what has been begun."""


class FileSink:
    """Writes each event into a line of a file, at once. `format` is `json` or `legacy`."""

    def __init__(self, file: LogFile, losses: Losses, clock: Clock, format: str = "json") -> None:
        self._file = file
        self._losses = losses
        self._clock = clock
        self._is_legacy = format == "legacy"

    async def process(self, events: Sequence[Event]) -> bool:
        kept = True
        for event in events:
            line = event.legacy if self._is_legacy else event.json
            try:
                self._file.write(line + b"\n")
            except (OSError, ValueError) as error:
                self._losses.lost("log", error, [event])
                kept = False
        return kept

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self._file.close()


class WebhookSink:
    """Posts events to a server, all that it is given in one EventList."""

    def __init__(self, webhook: RemoteWebhook, losses: Losses, clock: Clock) -> None:
        self._webhook = webhook
        self._losses = losses
        self._clock = clock

    async def process(self, events: Sequence[Event]) -> bool:
        head = b'{"kind":"EventList","apiVersion":"%b","metadata":{},"items":[' % VERSION.encode()
        try:
            await self._webhook.post(head + b",".join(event.json for event in events) + b"]}")
        except RemoteFailed as failure:
            self._losses.lost("webhook", failure, events)
            return False
        return True

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self._webhook.close()


class Forgiving:
    """The mode `blocking`: requests wait for the sink, and go on whatever it says."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.run = sink.run

    async def process(self, events: Sequence[Event]) -> bool:
        await self._sink.process(events)
        return True


class Truncated:
    """Takes the objects out of events that are too large, and hands on no more bytes at a time than the sink may get."""

    def __init__(self, sink: Sink, losses: Losses, *, max_event_bytes: int, max_batch_bytes: int) -> None:
        self._sink = sink
        self._losses = losses
        self._max_event_bytes = max_event_bytes
        self._max_batch_bytes = max_batch_bytes
        self.run = sink.run

    async def process(self, events: Sequence[Event]) -> bool:
        batch: list[Event] = []
        size, kept = 0, True
        for event in events:
            if len(event.json) > self._max_event_bytes and event.obj["level"] in ("Request", "RequestResponse"):
                event = event.without_objects()
            if len(event.json) > self._max_event_bytes:
                self._losses.lost("truncate", "event is too large even after truncating", [event])
                continue
            if batch and size + len(event.json) > self._max_batch_bytes:
                kept = await self._sink.process(batch) and kept
                batch, size = [], 0
            batch.append(event)
            size += len(event.json)
        if batch:
            kept = await self._sink.process(batch) and kept
        return kept
