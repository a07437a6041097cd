"""The status of a Deployment: its counts, and the conditions that say how a rollout is getting on. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.views.deployment import DeploymentView
from pilothouse.api.views.replica_set import ReplicaSetView
from pilothouse.controllers.deployment.scaling import total

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"

CREATED = "NewReplicaSetCreated"
FOUND = "FoundNewReplicaSet"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
CREATE_FAILED = "ReplicaSetCreateError"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"

Conditions = Sequence[Mapping[str, Any]]


def set_condition(
    conditions: Conditions, type_: str, value: str, reason: str, message: str, now: float
) -> list[Object]:
    """`conditions` with this one; unchanged if its status and reason are already that."""
    present = meta.condition_of(conditions, type_)
    if present is not None and present["status"] == value and present.get("reason") == reason:
        return [dict(condition) for condition in conditions]
    time = meta.format_time(now)
    kept_since = present is not None and present["status"] == value
    condition = {
        "type": type_,
        "status": value,
        "lastUpdateTime": time,
        "lastTransitionTime": present.get("lastTransitionTime", time) if present is not None and kept_since else time,
        "reason": reason,
        "message": message,
    }
    return [*without_condition(conditions, type_), condition]


def without_condition(conditions: Conditions, type_: str) -> list[Object]:
    return [dict(condition) for condition in conditions if condition["type"] != type_]


def pause_conditions(view: DeploymentView, conditions: Conditions, now: float) -> list[Object]:
    """Mark that progress is not judged while a Deployment is paused, so that the pause does not count as lack of it."""
    present = meta.condition_of(conditions, PROGRESSING)
    reason = present.get("reason") if present is not None else None
    if view.progress_deadline_s is None or reason == TIMED_OUT:
        return list(map(dict, conditions))
    if view.paused and reason != PAUSED:
        return set_condition(conditions, PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now)
    if not view.paused and reason == PAUSED:
        return set_condition(conditions, PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now)
    return list(map(dict, conditions))


def status_of(
    view: DeploymentView, conditions: Conditions, new: Object | None, old: Sequence[Object], now: float
) -> Object:
    """The counts over all ReplicaSets and whether enough is available; `conditions` are those to start from."""
    everything = [ReplicaSetView(one) for one in (*old, *((new,) if new is not None else ()))]
    available = sum(one.available_replicas for one in everything)
    counts = {
        "observedGeneration": view.generation,
        "replicas": sum(one.status_replicas for one in everything),
        "updatedReplicas": ReplicaSetView(new).status_replicas if new is not None else 0,
        "readyReplicas": sum(one.ready_replicas for one in everything),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(one.obj for one in everything) - available),  # type: ignore[misc]
    }
    status: Object = {name: count for name, count in counts.items() if count}
    terminating = [
        one.terminating_replicas
        for one in everything
        if one.observed_generation or one.terminating_replicas is not None
    ]
    if None not in terminating:
        status["terminatingReplicas"] = sum(count or 0 for count in terminating)
    if view.collision_count is not None:
        status["collisionCount"] = view.collision_count
    if available >= view.replicas - view.max_unavailable:
        message = "Deployment has minimum availability."
        conditions = set_condition(conditions, AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    else:
        message = "Deployment does not have minimum availability."
        conditions = set_condition(conditions, AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    status["conditions"] = conditions
    return status


def with_progress(
    view: DeploymentView, status: Object, new: Object | None, old: Sequence[Object], now: float
) -> Object:
    """`status` with the conditions on progress and on failures of its ReplicaSets."""
    conditions = status["conditions"]
    present = meta.condition_of(conditions, PROGRESSING)
    if view.progress_deadline_s is None:
        conditions = without_condition(conditions, PROGRESSING)
    else:
        settled = (
            status.get("replicas") == status.get("updatedReplicas")
            and present is not None
            and present.get("reason") == COMPLETE
        )
        if not settled:
            conditions = _progress(view, status, conditions, new, now)
    failures = [
        condition
        for one in ((new, *old) if new is not None else old)
        if (condition := meta.condition_of(ReplicaSetView(one).conditions, REPLICA_FAILURE)) is not None
    ]
    if failures:
        conditions = _with_failure(conditions, failures[0])
    else:
        conditions = without_condition(conditions, REPLICA_FAILURE)
    return {**status, "conditions": conditions}


def is_complete(view: DeploymentView, status: Mapping[str, Any]) -> bool:
    """Whether all pods are of the new template, available, and none is left of the old."""
    counts = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    return all(count == view.replicas for count in counts) and status.get("observedGeneration", 0) >= view.generation


def next_check_s(view: DeploymentView, status: Mapping[str, Any], now: float) -> float | None:
    """When the deadline has to be judged, if it has."""
    present = meta.condition_of(status.get("conditions"), PROGRESSING)
    if view.progress_deadline_s is None or present is None or view.paused:
        return None
    if is_complete(view, status) or present.get("reason") in (TIMED_OUT, COMPLETE):
        return None
    # A second more, because timestamps have whole seconds.
    return max(1.0, _updated_at(present, now) + view.progress_deadline_s - now + 1)


def _progress(
    view: DeploymentView, status: Object, conditions: Conditions, new: Object | None, now: float
) -> list[Object]:
    subject = f'Deployment "{view.name}"' if new is None else f'ReplicaSet "{meta.name_of(new)}"'
    if is_complete(view, status):
        return set_condition(conditions, PROGRESSING, "True", COMPLETE, f"{subject} has successfully progressed.", now)
    present = meta.condition_of(conditions, PROGRESSING)
    if _has_progressed(view.status, status):
        updated = set_condition(
            without_condition(conditions, PROGRESSING), PROGRESSING, "True", UPDATED, f"{subject} is progressing.", now
        )
        if present is not None and present["status"] == "True":
            updated[-1]["lastTransitionTime"] = present.get("lastTransitionTime", updated[-1]["lastTransitionTime"])
        return updated
    if present is not None and _is_late(view, present, now):
        return set_condition(conditions, PROGRESSING, "False", TIMED_OUT, f"{subject} has timed out progressing.", now)
    return list(map(dict, conditions))


def _has_progressed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    def left(status: Mapping[str, Any]) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    more = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return left(after) < left(before) or any(after.get(name, 0) > before.get(name, 0) for name in more)


def _is_late(view: DeploymentView, present: Mapping[str, Any], now: float) -> bool:
    if present.get("reason") == COMPLETE:
        return False
    if present.get("reason") == TIMED_OUT:
        return True
    return _updated_at(present, now) + (view.progress_deadline_s or 0) < now


def _updated_at(condition: Mapping[str, Any], now: float) -> float:
    updated = condition.get("lastUpdateTime")
    return meta.parse_time(updated) if updated else now


def _with_failure(conditions: Conditions, failure: Mapping[str, Any]) -> list[Object]:
    present = meta.condition_of(conditions, REPLICA_FAILURE)
    if present is not None and all(present.get(name) == failure.get(name) for name in ("status", "reason")):
        return list(map(dict, conditions))
    condition = {**failure, "lastUpdateTime": failure.get("lastTransitionTime")}
    return [*without_condition(conditions, REPLICA_FAILURE), condition]
