from __future__ import annotations

from pilothouse.scheduler.framework import ClusterEvent
from pilothouse.scheduler.queue import Queue
from tests.scheduler.build import pod

FIT = frozenset({"Fit"})


def queue() -> Queue:
    return Queue({"Fit": frozenset({ClusterEvent.POD_GONE})})


def test_priority_comes_before_age() -> None:
    made = queue()
    low, high = pod(priority=1), pod(priority=5)
    made.put(low, 0)
    made.put(high, 1)
    assert [made.pop(1).pod, made.pop(1).pod] == [high, low]  # type: ignore[union-attr]


def test_a_pod_waits_for_the_event_that_may_help_and_backs_off() -> None:
    made = queue()
    made.put(pod(), 0)
    queued = made.pop(0)
    assert queued is not None
    made.failed(queued, FIT, 0)
    made.wake(ClusterEvent.NODE_CHANGED, 0.1)
    assert made.pop(100) is None
    made.wake(ClusterEvent.POD_GONE, 0.2)
    assert made.pop(0.5) is None
    assert made.next_time(0.5) == 1.0
    assert made.pop(1.0) is queued


def test_back_off_doubles_up_to_ten_seconds() -> None:
    made = queue()
    made.put(pod(), 0)
    now, waits = 0.0, []
    for _ in range(6):
        queued = made.pop(now)
        assert queued is not None
        made.failed(queued, FIT, now)
        made.wake(ClusterEvent.POD_GONE, now)
        due = made.next_time(now)
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [1, 2, 4, 8, 10, 10]


def test_an_event_during_the_attempt_is_not_missed() -> None:
    made = queue()
    made.put(pod(), 0)
    queued = made.pop(0)
    assert queued is not None
    made.wake(ClusterEvent.POD_GONE, 0)
    made.failed(queued, FIT, 0)
    assert made.pop(1.0) is queued


def test_a_waiting_pod_is_tried_again_after_five_minutes() -> None:
    made = queue()
    made.put(pod(), 0)
    queued = made.pop(0)
    assert queued is not None
    made.failed(queued, FIT, 0)
    assert made.next_time(0) == 300
    assert made.pop(299) is None
    assert made.pop(300) is queued


def test_a_removed_pod_is_gone() -> None:
    made = queue()
    gone = pod()
    made.put(gone, 0)
    made.remove(gone.uid)
    assert made.pop(0) is None
    assert len(made) == 0


def test_a_changed_pod_is_tried_again() -> None:
    made = queue()
    first = pod()
    made.put(first, 0)
    queued = made.pop(0)
    assert queued is not None
    made.failed(queued, FIT, 0)
    made.put(first, 5)
    assert made.pop(5) is None
    changed = pod(cpu="1")
    object.__setattr__(changed, "uid", first.uid)
    made.put(changed, 5)
    assert made.pop(5) is queued
