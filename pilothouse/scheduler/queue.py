"""The scheduling queue: pods that are ready to be tried, pods that back off, and pods that wait for the cluster to change.

Ready pods come by priority, then by age. A pod that did not fit waits until an event that its rejecting plugins care about, and then
backs off for 1 s, doubling with each attempt up to 10 s. A pod that waited five minutes is tried anyway. Pure: the caller passes the
time. Source: `pkg/scheduler/backend/queue`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.api.meta import UID
from pilothouse.scheduler.framework import ClusterEvent
from pilothouse.scheduler.pod import PodInfo

INITIAL_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0
LONGEST_WAIT_S = 300.0


@dataclass(slots=True)
class QueuedPod:
    """A pod that wants a node. `since` is when it was first queued, `attempts` how often it was tried."""

    pod: PodInfo
    since: float
    attempts: int = 0
    tried_at: float = 0.0
    rejected_by: frozenset[str] = field(default_factory=frozenset)

    @property
    def backoff_s(self) -> float:
        return min(INITIAL_BACKOFF_S * float(2 ** min(max(self.attempts - 1, 0), 10)), MAX_BACKOFF_S)


class Queue:
    """Holds each pod once. `wakes_on` says which events each plugin's rejections wait for."""

    def __init__(self, wakes_on: Mapping[str, frozenset[ClusterEvent]]) -> None:
        self._wakes_on = wakes_on
        self._sequence = itertools.count()
        self._ready: list[tuple[int, float, int, UID]] = []
        self._backing_off: list[tuple[float, int, UID]] = []
        self._waiting: dict[UID, QueuedPod] = {}
        self._pods: dict[UID, QueuedPod] = {}
        self._trying: dict[UID, set[ClusterEvent]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def put(self, pod: PodInfo, now: float) -> None:
        """Queue a new pod, or take over a changed one, which is then worth another try."""
        queued = self._pods.get(pod.uid)
        if queued is None:
            queued = self._pods[pod.uid] = QueuedPod(pod, now)
            self._make_ready(queued)
            return
        changed = queued.pod.spec != pod.spec or queued.pod.labels != pod.labels
        queued.pod = pod
        if changed and pod.uid in self._waiting:
            del self._waiting[pod.uid]
            self._delay(queued, now)

    def remove(self, uid: UID) -> None:
        self._pods.pop(uid, None)
        self._waiting.pop(uid, None)
        self._trying.pop(uid, None)

    def pop(self, now: float) -> QueuedPod | None:
        """The next pod to try, which the caller gives back with `failed`, `retry` or `remove`; None if none is ready."""
        self._wake_due(now)
        while self._ready:
            _, _, _, uid = heapq.heappop(self._ready)
            queued = self._pods.get(uid)
            if queued is None or uid in self._trying or uid in self._waiting:
                continue
            queued.attempts += 1
            queued.tried_at = now
            self._trying[uid] = set()
            return queued
        return None

    def failed(self, queued: QueuedPod, rejected_by: frozenset[str], now: float) -> None:
        """The pod fitted nowhere: it waits, unless the cluster changed to its good while it was tried."""
        uid = queued.pod.uid
        missed = self._trying.pop(uid, set())
        if uid not in self._pods:
            return
        queued.rejected_by = rejected_by
        if any(self._is_wanted(queued, event) for event in missed):
            self._delay(queued, now)
        else:
            self._waiting[uid] = queued

    def retry(self, queued: QueuedPod, now: float) -> None:
        """Something went wrong that has nothing to do with the cluster's state: try again after the back-off."""
        self._trying.pop(queued.pod.uid, None)
        if queued.pod.uid in self._pods:
            self._delay(queued, now)

    def wake(self, event: ClusterEvent, now: float) -> None:
        """The cluster changed: pods that wait for such a change are tried again, each after what is left of its back-off."""
        for missed in self._trying.values():
            missed.add(event)
        for uid, queued in list(self._waiting.items()):
            if self._is_wanted(queued, event):
                del self._waiting[uid]
                self._delay(queued, now)

    def next_time(self, now: float) -> float | None:
        """When `pop` will have something, in the caller's time; None if only a change can bring it."""
        if self._ready:
            return now
        times = [self._backing_off[0][0]] if self._backing_off else []
        times += [queued.tried_at + LONGEST_WAIT_S for queued in self._waiting.values()]
        return min(times, default=None)

    def _is_wanted(self, queued: QueuedPod, event: ClusterEvent) -> bool:
        return not queued.rejected_by or any(event in self._wakes_on.get(name, ()) for name in queued.rejected_by)

    def _make_ready(self, queued: QueuedPod) -> None:
        heapq.heappush(self._ready, (-queued.pod.priority, queued.since, next(self._sequence), queued.pod.uid))

    def _delay(self, queued: QueuedPod, now: float) -> None:
        due = queued.tried_at + queued.backoff_s
        if queued.attempts == 0 or due <= now:
            self._make_ready(queued)
        else:
            heapq.heappush(self._backing_off, (due, next(self._sequence), queued.pod.uid))

    def _wake_due(self, now: float) -> None:
        while self._backing_off and self._backing_off[0][0] <= now:
            queued = self._pods.get(heapq.heappop(self._backing_off)[2])
            if queued is not None:
                self._make_ready(queued)
        for uid, queued in list(self._waiting.items()):
            if queued.tried_at + LONGEST_WAIT_S <= now:
                del self._waiting[uid]
                self._make_ready(queued)
