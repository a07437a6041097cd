"""What clients asked of objects and what they were told, as it was seen from outside.

A key is a register whose writes carry values that nobody else writes, so that a value tells which write it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


class Verb(Enum):
    """CREATE wants that there is nothing, UPDATE and DELETE that there is `expect`, or anything if that is None, PATCH anything."""

    CREATE = auto()
    UPDATE = auto()
    PATCH = auto()
    DELETE = auto()
    READ = auto()


class Outcome(Enum):
    """REFUSED: there was something, and not as the call wanted it. UNKNOWN: no answer, so it may have been done, or yet be done."""

    DONE = auto()
    EXISTS = auto()
    MISSING = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class Call:
    """`began` and `ended` count steps, not seconds. `value` is what a write writes or a read has read; None: no object."""

    key: str
    verb: Verb
    began: int
    value: str | None = None
    expect: str | None = None
    outcome: Outcome = Outcome.UNKNOWN
    ended: int | None = None
    revision: int | None = None
    """Of the object that was written or read; None where nobody said."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects at a revision, as a list gave them: value and revision by key."""

    revision: int
    objects: dict[str, tuple[str, int]]


@dataclass(slots=True)
class Record:
    """Calls as they begin and end. A list counts as a read of every key."""

    calls: list[Call] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    _step: int = 0

    def begin(self, key: str, verb: Verb, value: str | None = None, expect: str | None = None) -> Call:
        self._step += 1
        call = Call(key, verb, self._step, value, expect)
        self.calls.append(call)
        return call

    def end(self, call: Call, outcome: Outcome, revision: int | None = None) -> None:
        """UNKNOWN has no end."""
        self._step += 1
        call.outcome, call.revision = outcome, revision
        call.ended = None if outcome is Outcome.UNKNOWN else self._step

    def read(self, call: Call, value: str | None, revision: int | None) -> None:
        call.value = value
        self.end(call, Outcome.DONE, revision)

    def forget(self, call: Call) -> None:
        """A read without an answer says nothing."""
        self.calls.remove(call)
