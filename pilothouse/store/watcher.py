"""One client's watch: a bounded queue of encoded events between the cacher and a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from pilothouse.store.base import Revision
from pilothouse.store.event import Encoder, Event
from pilothouse.store.selection import Selection

QUEUE_EVENTS = 4096
"""A client that is this many events behind is cut off; it comes back with the resourceVersion it has reached."""
QUEUE_BYTES = 16 * 1024 * 1024
"""And one that has let so many bytes of events wait. Watchers of the same form share them, but the slowest keeps them alone."""
CHUNK_BYTES = 256 * 1024
"""How much of the initial events is encoded at a time."""


class Watcher:
    """An async iterator of whole encoded events, many at a time. It ends when the client has fallen too far behind or on `close`.

    `async for chunk in watcher` gives joined bytes; `batch` gives the same event by event. Only one reader at a time.
    """

    __slots__ = (
        *("_is_ended", "_leave", "_past", "_queue", "_queued_bytes", "_wake"),
        *("encoder", "is_behind", "revision", "selection"),
    )

    def __init__(
        self,
        selection: Selection,
        encoder: Encoder,
        revision: Revision,
        past: Iterator[bytes],
        leave: Callable[[Watcher], None],
    ) -> None:
        self.selection = selection
        self.encoder = encoder
        self.revision = revision
        """Where the queue begins: only later events are taken. `past` leads up to it."""
        self._past: Iterator[bytes] | None = past
        self._leave = leave
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._wake: Callable[[], object] | None = None
        self._is_ended = False
        self.is_behind = False
        """Whether the watch was ended as its client did not keep up."""

    def offer(self, event: Event) -> None:
        """Queue `event`, which concerns an object in the watcher's namespace, as this watcher has to see it, if at all."""
        selection = self.selection
        type = event.type if selection.is_everything else selection.transition(event)
        if type is not None and event.revision > self.revision:
            self.push(event.line(type, self.encoder))

    def push(self, line: bytes) -> None:
        """Queue one encoded event."""
        queue = self._queue
        if len(queue) >= QUEUE_EVENTS or self._queued_bytes >= QUEUE_BYTES:
            self.is_behind = not self._is_ended
            self.end()
            return
        queue.append(line)
        self._queued_bytes += len(line)
        wake = self._wake
        if wake is not None:
            self._wake = None
            wake()

    @property
    def is_caught_up(self) -> bool:
        """Whether everything that led up to the queue has been taken."""
        return self._past is None

    def bookmark(self, revision: Revision) -> None:
        """Queue a bookmark: the client has seen everything up to `revision`."""
        self.push(self.encoder.bookmark(revision, initial_events_end=False))

    async def batch(self) -> Sequence[bytes]:
        """The events at hand, each encoded, at least one. Waits for the next; empty means that the watch has ended."""
        while (lines := self.take()) is not None and not lines:
            more: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.when_more(lambda more=more: more.done() or more.set_result(None))  # type: ignore[misc]
            await more
        return lines or ()

    def take(self) -> Sequence[bytes] | None:
        """The events at hand, each encoded, without waiting; None if the watch has ended."""
        if self._past is not None:
            if lines := self._take_past(self._past):
                return lines
            self._past = None
        if not self._queue:
            return None if self._is_ended else ()
        queue, self._queue = self._queue, []
        self._queued_bytes = 0
        return queue

    def when_more(self, wake: Callable[[], object]) -> None:
        """Call `wake` once when `take` has something to give, also that the watch has ended; at once if it has now."""
        if self._queue or self._is_ended or self._past is not None:
            wake()
        else:
            self._wake = wake

    def end(self) -> None:
        """Take no more events; those already queued can still be read. Idempotent."""
        if self._is_ended:
            return
        self._is_ended = True
        self._leave(self)
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def close(self) -> None:
        """End the watch and forget what is queued. Idempotent."""
        self.end()
        self._past = None
        self._queue = []

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> bytes:
        lines = await self.batch()
        if not lines:
            raise StopAsyncIteration
        return b"".join(lines)

    @staticmethod
    def _take_past(past: Iterator[bytes]) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        for line in past:
            lines.append(line)
            size += len(line)
            if size >= CHUNK_BYTES:
                break
        return lines
