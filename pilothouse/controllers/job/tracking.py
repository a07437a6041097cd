"""Counting each ended pod exactly once.

A pod keeps a finalizer until its end has been counted. Its UID first goes into `status.uncountedTerminatedPods`, then the finalizer goes,
then the UID becomes a number; whoever stops in between finds in the status how far it came. Source: KEP-2307.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.views.job import JobView
from pilothouse.api.views.pod import PodView
from pilothouse.client.events import NORMAL, WARNING
from pilothouse.controllers.job import indexes
from pilothouse.controllers.job.failure import index_of, is_failed, judge
from pilothouse.controllers.job.plan import Actions, Situation, condition, is_tracked

MAX_UNCOUNTED = 500
Event = tuple[str, str, str]
"""Type, reason, message."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the actions: how many pods were deleted, of which ready, and created."""

    deleted: int = 0
    deleted_ready: int = 0
    created: int = 0


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is to be done next: write `status` if `is_changed`, then remove the finalizers of `release`."""

    status: Object
    is_changed: bool
    release: tuple[Object, ...]
    tracked: frozenset[str]
    """UIDs of the pods that have the finalizer before that."""
    finished: Object | None
    """The condition that it ends with once all pods are counted."""
    is_full: bool
    """Whether more pods could have been counted than fit into a status."""
    terminating: int
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The status after the finalizers are gone, to be written if it differs, and then told."""

    status: Object
    is_changed: bool
    is_finished: bool = False
    events: tuple[Event, ...] = ()


def track(situation: Situation, actions: Actions, outcome: Outcome) -> Tracking:
    """Work out the status after `actions` had this `outcome`, and whose finalizers can go."""
    return _Draft(situation).track(actions, outcome)


def conclude(job: Object, tracking: Tracking, released: Collection[str], now: float) -> Conclusion:
    """Turn UIDs whose finalizer is gone into numbers, and finish the Job if nothing is left to count.

    `released` are the UIDs of those pods of `tracking.release` that have lost it.
    """
    status = dict(tracking.status)
    is_changed = _count_uncounted(status, tracking.tracked - set(released))
    finished = tracking.finished
    if finished is None or tracking.is_full or tracking.terminating or _uncounted_size(status):
        return Conclusion(status, is_changed)
    kept = [one for one in status.get("conditions") or () if one["type"] != finished["type"]]
    status["conditions"] = [*kept, finished]
    if finished["type"] == "Failed":
        return Conclusion(status, True, True, ((WARNING, finished["reason"], finished["message"]),))
    status["completionTime"] = meta.format_time(now)
    events: list[Event] = []
    completions = JobView(job).completions
    if completions is not None and status.get("succeeded", 0) > completions:
        message = "Too many succeeded pods running after completion count reached"
        events.append((WARNING, "TooManySucceededPods", message))
    events.append((NORMAL, "Completed", "Job completed"))
    return Conclusion(status, True, True, tuple(events))


class _Draft:
    """The status as it becomes."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.seen, self.view = situation.seen, situation.view
        self.before = self.view.status
        uncounted = self.before.get("uncountedTerminatedPods") or {}
        self.known_succeeded = frozenset(uncounted.get("succeeded") or ())
        self.known_failed = frozenset(uncounted.get("failed") or ())
        self.finished = situation.finished
        self.conditions: list[Object] = [dict(one) for one in self.view.conditions]
        self.start = situation.start
        self.events: list[Event] = []

    def track(self, actions: Actions, outcome: Outcome) -> Tracking:
        active = len(self.situation.active) - outcome.deleted + outcome.created
        terminating = self.situation.terminating + outcome.deleted
        if self.finished is not None:
            if outcome.deleted != len(self.situation.active) or not self.seen.is_settled:
                # Pods may remain that the cache does not show: it cannot be said to have finished.
                self.finished = None
        elif self._is_complete(active):
            message = "Reached expected number of succeeded pods"
            self.finished = condition("SuccessCriteriaMet", "CompletionsReached", message, self.seen.now)
        elif actions.is_managed:
            self._suspend_or_resume()
        status = {
            **self.before,
            "active": active,
            "ready": self.situation.ready - outcome.deleted_ready,
            "terminating": terminating,
            "startTime": meta.format_time(self.start) if self.start is not None else None,
        }
        tracked = frozenset(meta.uid_of(pod) for pod in self.seen.pods if is_tracked(self.seen, pod))
        _count_uncounted(status, tracked)
        release, is_full = self._count(status)
        self._announce_end()
        status["conditions"] = self.conditions
        status = {name: value for name, value in status.items() if value not in (None, "", []) or name == _FAILED}
        status = {name: value for name, value in status.items() if value != 0 or name in ("ready", "terminating")}
        status.setdefault("uncountedTerminatedPods", {})
        is_changed = _filled(status) != _filled(self.before)
        return Tracking(
            status, is_changed, tuple(release), tracked, self.finished, is_full, terminating, tuple(self.events)
        )

    def _is_complete(self, active: int) -> bool:
        if active:
            return False
        completions = self.view.completions
        return self.situation.succeeded > 0 if completions is None else self.situation.succeeded >= completions

    def _suspend_or_resume(self) -> None:
        present = meta.condition_of(self.conditions, "Suspended")
        now = self.seen.now
        if self.view.is_suspended:
            if present is None or present["status"] != "True":
                self._set(condition("Suspended", "JobSuspended", "Job suspended", now))
                self.events.append((NORMAL, "Suspended", "Job suspended"))
                self.start = None
        elif present is not None and present["status"] != "False":
            self._set(condition("Suspended", "JobResumed", "Job resumed", now, "False"))
            self.events.append((NORMAL, "Resumed", "Job resumed"))
            # The deadline is of the time that it is active without a break.
            self.start = now

    def _set(self, changed: Object) -> None:
        self.conditions = [changed if one["type"] == changed["type"] else one for one in self.conditions]
        if changed not in self.conditions:
            self.conditions.append(changed)

    def _count(self, status: Object) -> tuple[list[Object], bool]:
        """Put ended pods into the status; returns those whose finalizer can go, and whether there were too many."""
        uncounted = status["uncountedTerminatedPods"]
        succeeded, failed = list(uncounted.get("succeeded") or ()), list(uncounted.get("failed") or ())
        new_indexes: list[int] = []
        release: list[Object] = []
        is_full = False
        for pod in self._in_order():
            has_failed = is_failed(self.view, pod)
            if not is_tracked(self.seen, pod) or not self._may_release(pod, has_failed):
                continue
            release.append(pod)
            uid, index = meta.uid_of(pod), self._index(pod)
            if PodView(pod).phase == "Succeeded" and uid not in self.known_failed:
                if not self.view.is_indexed:
                    succeeded += [] if uid in self.known_succeeded else [uid]
                elif index is not None and index not in self.situation.former_indexes:
                    new_indexes.append(index)
            elif (
                (has_failed or self._fails_all())
                and uid not in self.known_failed
                and (not self.view.is_indexed or index is not None)
                and judge(self.view, pod).counts
            ):
                failed.append(uid)
            if len(new_indexes) + len(succeeded) + len(failed) >= MAX_UNCOUNTED:
                is_full = True
                break
        status["uncountedTerminatedPods"] = _uncounted(succeeded, failed)
        if self.view.is_indexed:
            done = self.situation.succeeded_indexes | indexes.of(new_indexes)
            status["succeeded"], status["completedIndexes"] = len(done), str(done)
            if (given := self.situation.failed_indexes) is not None:
                status[_FAILED] = str(given)
            else:
                status.pop(_FAILED, None)
        return release, is_full

    def _in_order(self) -> Sequence[Object]:
        if not self.view.is_indexed:
            return self.seen.pods
        return sorted(self.seen.pods, key=lambda pod: -1 if (index := index_of(pod)) is None else index)

    def _index(self, pod: Object) -> int | None:
        index = index_of(pod)
        return index if index is not None and index < (self.view.completions or 0) else None

    def _may_release(self, pod: Object, has_failed: bool) -> bool:
        if self.view.is_deleting or self.finished is not None or PodView(pod).phase == "Succeeded":
            return True
        if not has_failed:
            return False
        index = index_of(pod)
        awaiting = (self.situation.awaiting or {}).get(index) if index is not None else None
        return awaiting is None or meta.uid_of(awaiting) != meta.uid_of(pod)

    def _fails_all(self) -> bool:
        """Whether every pod that has not succeeded counts as failed, because the Job has."""
        return self.finished is not None and self.finished["type"] != "SuccessCriteriaMet"

    def _announce_end(self) -> None:
        """Say in the conditions that it will end, and work out how."""
        if self.finished is None:
            return
        ends = {"FailureTarget": "Failed", "SuccessCriteriaMet": "Complete"}
        type_ = self.finished["type"]
        if type_ in ends:
            if not meta.is_condition_true(self.conditions, type_):
                self.conditions.append(self.finished)
            reason, message = self.finished.get("reason", ""), self.finished.get("message", "")
            self.finished = condition(ends[type_], reason, message, self.seen.now)


_FAILED = "failedIndexes"


def _count_uncounted(status: Object, tracked: Collection[str]) -> bool:
    """Change `status`: UIDs of pods that have no finalizer any more become numbers. Returns whether there were any."""
    uncounted: Mapping[str, Any] = status.get("uncountedTerminatedPods") or {}
    left: dict[str, list[str]] = {}
    is_changed = False
    for name in ("succeeded", "failed"):
        uids = uncounted.get(name) or ()
        left[name] = [uid for uid in uids if uid in tracked]
        if counted := len(uids) - len(left[name]):
            status[name] = status.get(name, 0) + counted
            is_changed = True
    status["uncountedTerminatedPods"] = _uncounted(left["succeeded"], left["failed"])
    return is_changed


def _uncounted(succeeded: list[str], failed: list[str]) -> Object:
    return {name: uids for name, uids in (("succeeded", succeeded), ("failed", failed)) if uids}


def _uncounted_size(status: Mapping[str, Any]) -> int:
    return sum(map(len, status["uncountedTerminatedPods"].values()))


def _filled(status: Mapping[str, Any]) -> Object:
    return {name: value for name, value in status.items() if value not in (None, {}, [])}
