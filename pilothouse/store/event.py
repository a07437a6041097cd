"""What happened to one object, and how it is written on a watch.

An event is encoded once for all watchers that want it in the same form.
"""

from __future__ import annotations

from typing import Protocol

from pilothouse.api.gvr import GVR
from pilothouse.store.base import Revision
from pilothouse.store.cached import Cached

ADDED = "ADDED"
MODIFIED = "MODIFIED"
DELETED = "DELETED"
BOOKMARK = "BOOKMARK"

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the initial events. Source: KEP-3157, `meta/v1/types.go`."""


class Encoder(Protocol):
    """Writes events in one form, such as JSON lines, Table rows or protobuf frames. Compared by identity; share instances."""

    def event(self, type: str, cached: Cached) -> bytes:
        """One ADDED, MODIFIED or DELETED event. `cached` carries the resourceVersion of the event, also for DELETED."""

    def bookmark(self, revision: Revision, *, initial_events_end: bool) -> bytes:
        """A BOOKMARK event; annotated if it ends the initial events."""


class JsonLines:
    """`{"type":"ADDED","object":…}` and a line feed: the bytes of the object as they are."""

    def __init__(self, gvr: GVR) -> None:
        self._bookmark = (
            f'{{"type":"BOOKMARK","object":{{"kind":"{gvr.kind}","apiVersion":"{gvr.api_version}","metadata":'
        )

    def event(self, type: str, cached: Cached) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type.encode(), cached.wire)

    def bookmark(self, revision: Revision, *, initial_events_end: bool) -> bytes:
        annotations = f',"annotations":{{"{INITIAL_EVENTS_END}":"true"}}' if initial_events_end else ""
        return f'{self._bookmark}{{"resourceVersion":"{revision}"{annotations}}}}}}}\n'.encode()


class Event:
    """One change of one object: `old` is None for a creation, `new` for a deletion."""

    __slots__ = ("_lines", "new", "old", "revision", "type")

    def __init__(self, revision: Revision, old: Cached | None, new: Cached | None) -> None:
        self.revision = revision
        self.old = old
        self.new = new
        self.type = ADDED if old is None else DELETED if new is None else MODIFIED
        """What the event is to those who see everything."""
        self._lines: dict[tuple[str, Encoder], bytes] | None = None

    @property
    def cached(self) -> Cached:
        """The object as it is after the change, or was before its deletion."""
        cached = self.new or self.old
        assert cached is not None
        return cached

    def line(self, type: str, encoder: Encoder) -> bytes:
        """The event as a watcher sees it that has to be told `type`; kept until `forget_lines`."""
        lines = self._lines
        if lines is None:
            lines = self._lines = {}
        line = lines.get((type, encoder))
        if line is None:
            line = lines[type, encoder] = self.encode(type, encoder)
        return line

    def forget_lines(self) -> None:
        """Let go of the encoded lines: after the event has gone out, they would only double the memory of the past."""
        self._lines = None

    def encode(self, type: str, encoder: Encoder) -> bytes:
        """The same, not kept."""
        if type == DELETED:
            assert self.old is not None
            return encoder.event(type, self.old.at(self.revision))
        assert self.new is not None
        return encoder.event(type, self.new)
