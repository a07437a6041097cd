"""A record of calls to a store, and whether they could have happened one after the other in the order of revisions.

Each key is a register. Revisions give the order of all writes, so a history is linearizable if nothing contradicts that order: a call
that ended before another began must not come after it, and a read must give the last write of its key before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.store.base import ABSENT, Change, Revision


@dataclass(slots=True)
class Call:
    """`began` and `ended` count steps, not seconds. `revision` is the write's, or that of the state read; None if it is not known."""

    key: str
    is_write: bool
    value: bytes | None
    began: int
    ended: int | None = None
    revision: Revision | None = None


@dataclass(slots=True)
class History:
    """Calls as they begin and end."""

    calls: list[Call] = field(default_factory=list)
    _step: int = 0

    def begin(self, key: str, value: bytes | None, *, is_write: bool) -> Call:
        self._step += 1
        call = Call(key, is_write, value, self._step)
        self.calls.append(call)
        return call

    def end(self, call: Call, revision: Revision, value: bytes | None) -> None:
        self._step += 1
        call.ended, call.revision, call.value = self._step, revision, value

    def check(self, changes: Sequence[Change]) -> None:
        """`changes` are all writes that were made, as a watch tells them. Raises AssertionError."""
        made = {change.revision: change for change in changes}
        assert len(made) == len(changes)
        assert list(made) == sorted(made)
        acknowledged = [call for call in self.calls if call.is_write and call.revision is not None]
        for call in acknowledged:
            change = made.get(call.revision)  # type: ignore[arg-type]
            assert change is not None, f"an acknowledged write was lost: {call}"
            assert (change.key, change.value) == (call.key, call.value), f"{call} is not what was written: {change}"
        values = {change.value for change in changes if change.value is not None}
        assert len(values) == sum(change.value is not None for change in changes), "a write was made twice"
        begun = {call.value: call.began for call in self.calls if call.is_write}
        for key in {call.key for call in self.calls}:
            self._check_key(key, [change for change in changes if change.key == key], begun)

    def _check_key(self, key: str, changes: Sequence[Change], begun: dict[bytes | None, int]) -> None:
        calls = [call for call in self.calls if call.key == key]
        previous = ABSENT
        for change in changes:
            assert change.previous == previous, f"{change} does not follow {previous}"
            previous = change.revision if change.value is not None else ABSENT
        written = [call for call in calls if call.is_write and call.revision is not None and call.ended is not None]
        for call in calls:
            if call.revision is None:
                continue
            if not call.is_write:
                self._check_read(call, changes, begun)
            for earlier in written:
                assert earlier.ended is not None
                assert earlier.revision is not None
                if earlier.ended < call.began:
                    assert earlier.revision <= call.revision, f"{call} does not see {earlier}"

    @staticmethod
    def _check_read(call: Call, changes: Sequence[Change], begun: dict[bytes | None, int]) -> None:
        assert call.revision is not None
        assert call.ended is not None
        before = [change for change in changes if change.revision <= call.revision]
        value = before[-1].value if before else None
        assert value == call.value, f"{call} read something else than {value!r}"
        assert value is None or begun[value] < call.ended, f"{call} read the future"
