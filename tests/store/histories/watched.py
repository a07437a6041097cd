"""What a watch told, through as many connections as it took, and whether that is all there was, each once.

A watch begins from a list. What it tells after that is replayed: objects that it adds must not be there, those it changes or deletes
must, and at every revision at which somebody listed the objects the two must be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.store.histories.calls import Call, Outcome, Snapshot, Verb


@dataclass(frozen=True, slots=True)
class Told:
    """One event; `value` is the object's, also of a deletion."""

    revision: int
    type: str
    key: str
    value: str


@dataclass(slots=True)
class Watched:
    """From `start`, everything told."""

    start: Snapshot
    events: list[Told] = field(default_factory=list)
    reached: int = 0
    """The last revision that an event or a bookmark told."""

    def check(self, snapshots: Iterable[Snapshot], calls: Iterable[Call]) -> None:
        """Raises AssertionError."""
        last = self.start.revision
        for event in self.events:
            assert event.revision > last, f"{event} came after revision {last}"
            last = event.revision
        states = self._replayed()
        for snapshot in snapshots:
            if self.start.revision <= snapshot.revision <= self.reached:
                found = state_at(states, snapshot.revision)
                assert found == snapshot.objects, f"at {snapshot.revision}: replayed {found}, listed {snapshot.objects}"
        self._check_writes(calls)

    def _replayed(self) -> list[Snapshot]:
        """The objects after each event."""
        objects = dict(self.start.objects)
        states = [self.start]
        for event in self.events:
            present = objects.get(event.key)
            if event.type == "ADDED":
                assert present is None, f"{event} was there already: {present}"
            else:
                assert present is not None, f"{event} was not there"
            if event.type == "DELETED":
                assert present is not None
                assert present[0] == event.value, f"{event} is not what was there: {present}"
                del objects[event.key]
            else:
                objects[event.key] = (event.value, event.revision)
            states.append(Snapshot(event.revision, dict(objects)))
        return states

    def _check_writes(self, calls: Iterable[Call]) -> None:
        """Every acknowledged write was told as it was acknowledged, and no write twice."""
        by_revision = {event.revision: event for event in self.events}
        written = [event.value for event in self.events if event.type != "DELETED"]
        assert len(written) == len(set(written)), "a write was told twice"
        for call in calls:
            is_told = call.verb is not Verb.READ and call.outcome is Outcome.DONE and call.revision is not None
            if is_told and self.start.revision < call.revision <= self.reached:  # type: ignore[operator]
                event = by_revision.get(call.revision)  # type: ignore[arg-type]
                assert event is not None, f"an acknowledged write was not told: {call}"
                assert (event.key, event.value) == (call.key, call.value), f"{event} is not what was written: {call}"


def state_at(states: Sequence[Snapshot], revision: int) -> dict[str, tuple[str, int]]:
    """The objects at a revision at or after the first state's."""
    return next(state.objects for state in reversed(states) if state.revision <= revision)


def check_same(watches: Sequence[Watched]) -> None:
    """That all watches told the same where they overlap. Raises AssertionError."""
    first = watches[0]
    for other in watches[1:]:
        start = max(first.start.revision, other.start.revision)
        end = min(first.reached, other.reached)
        told = [[each for each in watch.events if start < each.revision <= end] for watch in (first, other)]
        assert told[0] == told[1]
