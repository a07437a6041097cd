"""The recent past of a resource: its events in order, so that a watch can begin at a revision and a list can look back."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from pilothouse.store.base import Revision
from pilothouse.store.event import Event

KEEP_S = 300.0
MIN_EVENTS = 100
"""So many stay whatever their age, so that the watch of a quiet resource can still be resumed."""
MAX_EVENTS = 8192
MAX_BYTES = 24 * 1024 * 1024
"""Of objects that are kept only because they are the past; the last `MIN_EVENTS` may come to more."""
MOST_BYTES = 3 * MAX_BYTES
"""But not to more than this."""
_MARK_S = 30.0


class Ring:
    """Bounded; the oldest events go first. `start` is the revision from which on nothing is missing."""

    def __init__(self, start: Revision) -> None:
        self.start = start
        self._events: list[Event] = []
        self._first = 0
        self._bytes = 0
        self._marks: deque[tuple[float, Revision]] = deque()
        """Which revision was the last at some times."""

    def append(self, event: Event) -> None:
        self._events.append(event)
        if event.old is not None:
            self._bytes += len(event.old.wire)
        while (count := len(self._events) - self._first) > MAX_EVENTS or (
            self._bytes > (MAX_BYTES if count > MIN_EVENTS else MOST_BYTES)
        ):
            self._drop()

    def since(self, revision: Revision) -> Sequence[Event]:
        """The events after `revision`, which must not be before `start`."""
        return self._events[bisect_right(self._events, revision, lo=self._first, key=_revision_of) :]

    def tick(self, now: float) -> None:
        """Drop what is older than `KEEP_S`; `now` is monotonic time. Cheap enough to call for every batch of events."""
        marks = self._marks
        if not marks or now - marks[-1][0] >= _MARK_S:
            marks.append((now, self._events[-1].revision if self._events else self.start))
        while now - marks[0][0] > KEEP_S:
            _, revision = marks.popleft()
            while len(self._events) - self._first > MIN_EVENTS and self._events[self._first].revision <= revision:
                self._drop()

    def _drop(self) -> None:
        oldest = self._events[self._first]
        self.start = oldest.revision
        if oldest.old is not None:
            self._bytes -= len(oldest.old.wire)
        self._events[self._first] = _DROPPED
        self._first += 1
        if self._first >= MAX_EVENTS // 4:
            del self._events[: self._first]
            self._first = 0


def _revision_of(event: Event) -> Revision:
    return event.revision


_DROPPED = Event(Revision(0), None, None)
