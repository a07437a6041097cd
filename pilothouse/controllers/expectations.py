"""What a controller has asked for and not yet seen in its caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.informer import Informer
from pilothouse.kit.clock import Clock

EXPECTATIONS_S = 300.0


@dataclass(slots=True)
class _Expected:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """What a controller has asked for and not yet seen in its caches.

    While something is expected for a key, acting on the cache would do it twice. Deletions are tracked by UID so that each counts
    once. What is not seen within five minutes is no longer waited for. Source: upstream `pkg/controller` UIDTrackingControllerExpectations.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._expected: dict[str, _Expected] = {}

    def expect_creations(self, key: str, count: int) -> None:
        self._entry(key).creations += count

    def expect_deletions(self, key: str, uids: Iterable[str]) -> None:
        self._entry(key).deletions.update(uids)

    def creation_observed(self, key: str) -> None:
        """One was seen, or will not come."""
        if (expected := self._expected.get(key)) is not None:
            expected.creations -= 1

    def deletion_observed(self, key: str, uid: str) -> None:
        """It was seen to go, or will not go."""
        if (expected := self._expected.get(key)) is not None:
            expected.deletions.discard(uid)

    def are_met(self, key: str) -> bool:
        """Whether nothing is expected any more for `key`."""
        return self.remaining_s(key) <= 0

    def remaining_s(self, key: str) -> float:
        """How long what is expected is still waited for; zero if nothing is."""
        expected = self._expected.get(key)
        if expected is None:
            return 0.0
        if expected.creations > 0 or expected.deletions:
            left_s = expected.since + EXPECTATIONS_S - self._clock.monotonic()
            if left_s > 0:
                return left_s
        del self._expected[key]
        return 0.0

    def forget(self, key: str) -> None:
        self._expected.pop(key, None)

    def _entry(self, key: str) -> _Expected:
        if self.are_met(key):
            self._expected[key] = _Expected(self._clock.monotonic())
        return self._expected[key]


class Written:
    """The revisions of what a controller wrote, so that it does not act on caches that do not show its own writes yet."""

    def __init__(self) -> None:
        self._revisions: dict[str, int] = {}

    def note(self, key: str, obj: Mapping[str, Any]) -> None:
        """`obj` is the server's answer to a write for `key`."""
        revision = _number(str(obj["metadata"].get("resourceVersion", "")))
        self._revisions[key] = max(revision, self._revisions.get(key, 0))

    def is_seen(self, key: str, informer: Informer) -> bool:
        """Whether `informer`, which follows what was written, has come that far."""
        revision = self._revisions.get(key)
        if revision is None:
            return True
        if _number(informer.revision) < revision:
            return False
        del self._revisions[key]
        return True

    def forget(self, key: str) -> None:
        self._revisions.pop(key, None)


def _number(revision: str) -> int:
    return int(revision) if revision.isdecimal() else 0
