"""How a Job stands, and which pods it should delete or create next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import JOBS
from pilothouse.api.meta import Object
from pilothouse.api.views.job import JobView
from pilothouse.api.views.pod import PodView
from pilothouse.controllers import pods
from pilothouse.controllers.job import indexes
from pilothouse.controllers.job.failure import (
    INDEX,
    NO_FAILURES,
    Failures,
    all_failures,
    counted_failures,
    failures_after,
    finished_at,
    index_of,
    index_wait_s,
    is_failed,
    judge,
)
from pilothouse.controllers.job.indexes import Indexes

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
AT_ONCE = 500
GENERATED_NAME_BASE = 58


@dataclass(frozen=True, slots=True)
class Seen:
    """What a round starts from."""

    job: Object
    pods: Sequence[Object]
    is_settled: bool
    """Whether the caches show all that was created and deleted before."""
    released: frozenset[str] = frozenset()
    """UIDs of pods that have lost their finalizer though the cache may not show it."""
    failures: Failures = NO_FAILURES
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """How a Job stands. `finished` is a condition by which it ends, if it does."""

    seen: Seen
    view: JobView
    active: Sequence[Object]
    ready: int
    terminating: int
    succeeded: int
    failed: int
    failures: Failures
    start: float | None
    finished: Object | None = None
    former_indexes: Indexes = indexes.NONE
    succeeded_indexes: Indexes = indexes.NONE
    failed_indexes: Indexes | None = None
    awaiting: Mapping[int, Object] | None = None
    """The failed pods, by index, that stay until another takes over their count of failures."""


@dataclass(frozen=True, slots=True)
class Actions:
    """Pods to delete or to create, never both. `is_ending`: those to delete keep their finalizer, to be counted."""

    delete: tuple[Object, ...] = ()
    create: tuple[Object, ...] = ()
    is_ending: bool = False
    is_managed: bool = False
    """Whether it was decided how many pods to have; not while something asked for is still awaited."""
    again_s: float | None = None


def has_finalizer(pod: Mapping[str, Any]) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def condition(type_: str, reason: str, message: str, now: float, status: str = "True") -> Object:
    time = meta.format_time(now)
    return {
        "type": type_,
        "status": status,
        "lastProbeTime": time,
        "lastTransitionTime": time,
        "reason": reason,
        "message": message,
    }


# Looking


def look(seen: Seen) -> Situation:
    """Count the pods and judge whether the Job ends."""
    view, now = JobView(seen.job), seen.now
    uncounted = view.status.get("uncountedTerminatedPods") or {}
    known_succeeded, known_failed = uncounted.get("succeeded") or (), uncounted.get("failed") or ()
    countable = [pod for pod in seen.pods if is_tracked(seen, pod) and _is_valid(view, pod)]
    succeeded = [
        pod for pod in countable if PodView(pod).phase == "Succeeded" and meta.uid_of(pod) not in known_succeeded
    ]
    failed = [pod for pod in countable if meta.uid_of(pod) not in known_failed and is_failed(view, pod)]
    active = [pod for pod in seen.pods if pods.is_active(pod)]
    start = view.start_time
    situation = Situation(
        seen,
        view,
        active,
        ready=sum(PodView(pod).is_ready for pod in active),
        terminating=sum(pods.is_terminating(pod) for pod in seen.pods),
        succeeded=int(view.status.get("succeeded", 0)) + len(succeeded) + len(known_succeeded),
        failed=int(view.status.get("failed", 0)) + sum(judge(view, pod).counts for pod in failed) + len(known_failed),
        failures=seen.failures.after(succeeded, failed),
        start=now if start is None and not view.is_suspended else start,
    )
    situation = replace(situation, finished=_known_end(view, now) or _failure(situation))
    return _with_indexes(situation, countable) if view.is_indexed else situation


def is_tracked(seen: Seen, pod: Object) -> bool:
    """Whether the pod may not be counted yet."""
    return has_finalizer(pod) and meta.uid_of(pod) not in seen.released


def _is_valid(view: JobView, pod: Object) -> bool:
    return not view.is_indexed or _index_within(view, pod) is not None


def _index_within(view: JobView, pod: Object) -> int | None:
    index = index_of(pod)
    return index if index is not None and index < (view.completions or 0) else None


def _known_end(view: JobView, now: float) -> Object | None:
    """What an earlier round decided."""
    if meta.is_condition_true(view.conditions, "SuccessCriteriaMet"):
        return dict(meta.condition_of(view.conditions, "SuccessCriteriaMet") or {})
    if meta.is_condition_true(view.conditions, "FailureTarget"):
        target = meta.condition_of(view.conditions, "FailureTarget") or {}
        return condition("Failed", target.get("reason", ""), target.get("message", ""), now)
    return None


def _failure(situation: Situation) -> Object | None:
    view, now, all_pods = situation.view, situation.seen.now, situation.seen.pods
    for pod in all_pods if view.pod_failure_rules else ():
        if is_failed(view, pod) and (verdict := judge(view, pod)).action == "FailJob":
            return condition("FailureTarget", "PodFailurePolicy", verdict.message, now)
    if situation.failed > view.backoff_limit or _restarts_too_often(view, all_pods):
        return condition("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit", now)
    left_s = _deadline_left_s(situation)
    if left_s is not None and left_s <= 0:
        return condition("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline", now)
    return None


def _restarts_too_often(view: JobView, all_pods: Iterable[Object]) -> bool:
    if (view.template.get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in map(PodView, all_pods):
        if pod.phase in ("Running", "Pending"):
            statuses = (*pod.container_statuses, *(pod.status.get("initContainerStatuses") or ()))
            restarts += sum(int(status.get("restartCount", 0)) for status in statuses)
    return restarts >= max(view.backoff_limit, 1)


def _deadline_left_s(situation: Situation) -> float | None:
    deadline_s, start = situation.view.active_deadline_s, situation.view.start_time
    if deadline_s is None or situation.view.is_suspended:
        return None
    return float(deadline_s) if start is None else start + deadline_s - situation.seen.now


def _with_indexes(situation: Situation, countable: Sequence[Object]) -> Situation:
    """Judge an Indexed Job by its indexes, too."""
    view, now = situation.view, situation.seen.now
    completions = view.completions or 0
    former = indexes.parse(view.status.get("completedIndexes") or "", completions)
    tracked = [pod for pod in situation.seen.pods if has_finalizer(pod) and _is_valid(view, pod)]
    ended = [pod for pod in tracked if PodView(pod).phase == "Succeeded"]
    succeeded = former | indexes.of(_indexes(ended))
    failed, awaiting, finished = None, None, situation.finished
    if view.backoff_limit_per_index is not None:
        given = indexes.parse(view.status.get("failedIndexes") or "", completions)
        failed = given | indexes.of(_indexes(pod for pod in tracked if _fails_index(view, pod)))
        finished = finished or _index_failure(view, len(failed), len(succeeded), now)
        settled = succeeded | failed | indexes.of(_indexes(situation.active))
        awaiting = _awaiting([pod for pod in countable if is_failed(view, pod)], settled)
    if finished is None and (message := _success(view, succeeded)):
        finished = condition("SuccessCriteriaMet", "SuccessPolicy", message, now)
    return replace(
        situation,
        succeeded=len(succeeded),
        former_indexes=former,
        succeeded_indexes=succeeded,
        failed_indexes=failed,
        awaiting=awaiting,
        finished=finished,
    )


def _indexes(some: Iterable[Object]) -> Iterator[int]:
    return (index for pod in some if (index := index_of(pod)) is not None)


def _fails_index(view: JobView, pod: Object) -> bool:
    if not is_failed(view, pod):
        return False
    verdict = judge(view, pod)
    limit = view.backoff_limit_per_index or 0
    return verdict.action == "FailIndex" or (verdict.counts and counted_failures(pod) >= limit)


def _index_failure(view: JobView, failed: int, succeeded: int, now: float) -> Object | None:
    if view.max_failed_indexes is not None and failed > view.max_failed_indexes:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return condition("FailureTarget", "MaxFailedIndexesExceeded", message, now)
    if failed and failed + succeeded >= (view.completions or 0):
        return condition("FailureTarget", "FailedIndexes", "Job has failed indexes", now)
    return None


def _awaiting(failed: Iterable[Object], settled: Indexes) -> dict[int, Object]:
    chosen: dict[int, Object] = {}
    for pod in failed:
        index = index_of(pod)
        if index is None or index in settled:
            continue
        present = chosen.get(index)
        if present is None or (all_failures(present) <= all_failures(pod) and finished_at(pod) >= finished_at(present)):
            chosen[index] = pod
    return chosen


def _success(view: JobView, succeeded: Indexes) -> str:
    """Why the successPolicy is met; empty if it is not."""
    for number, rule in enumerate((view.spec.get("successPolicy") or {}).get("rules") or () if len(succeeded) else ()):
        count = rule.get("succeededCount")
        if (wanted_text := rule.get("succeededIndexes")) is not None:
            wanted = indexes.parse(wanted_text, view.completions or 0)
            met = wanted.common(succeeded)
            holds = len(wanted) > 0 and (met == len(wanted) or (count is not None and met >= count))
        else:
            holds = count is not None and len(succeeded) >= count
        if holds:
            return f"Matched rules at index {number}"
    return ""


# Deciding


def plan(situation: Situation) -> Actions:
    """The pods to delete or create, and when to look again if nothing changes before."""
    left_s = _deadline_left_s(situation)
    if situation.finished is not None:
        return Actions(delete=tuple(situation.active), is_ending=True)
    if not situation.seen.is_settled or situation.view.is_deleting:
        return Actions(again_s=left_s)
    actions = _manage(situation)
    waits = [wait for wait in (left_s, actions.again_s) if wait is not None]
    return replace(actions, again_s=min(waits, default=None), is_managed=True)


def _manage(situation: Situation) -> Actions:
    view, active = situation.view, situation.active
    if view.is_suspended:
        return Actions(delete=tuple(active))
    wanted = _wanted(situation)
    if surplus := _surplus(situation, max(0, len(active) - wanted)):
        return Actions(delete=tuple(surplus[:AT_ONCE]))
    missing = wanted - len(active) - (situation.terminating if view.replaces_only_failed else 0)
    if missing <= 0:
        return Actions()
    if view.backoff_limit_per_index is None and (wait_s := situation.failures.wait_s(situation.seen.now)) > 0:
        return Actions(again_s=max(wait_s, 1.0))
    missing = min(missing, AT_ONCE)
    if not view.is_indexed:
        return Actions(create=(_pod(view),) * missing)
    return _create_indexed(situation, missing)


def _wanted(situation: Situation) -> int:
    view = situation.view
    if view.completions is None:
        return len(situation.active) if situation.succeeded else view.parallelism
    return max(0, min(view.completions - situation.succeeded, view.parallelism))


def _surplus(situation: Situation, at_least: int) -> list[Object]:
    """Pods to delete: those of an Indexed Job whose index is wrong or taken twice, then the least far ones."""
    view, now = situation.view, situation.seen.now
    ranked = pods.deletion_order(situation.active, (), now)
    if not view.is_indexed:
        return ranked[:at_least]
    taken: set[int] = set()
    kept, surplus = [], []
    for pod in reversed(ranked):
        index = _index_within(view, pod)
        if index is None or index in taken:
            surplus.append(pod)
        else:
            taken.add(index)
            kept.append(pod)
    kept.reverse()
    return surplus + kept[: max(0, at_least - len(surplus))]


def _create_indexed(situation: Situation, count: int) -> Actions:
    view, now, awaiting = situation.view, situation.seen.now, situation.awaiting or {}
    taken = situation.succeeded_indexes | indexes.of(_indexes(situation.active))
    if view.replaces_only_failed:
        taken |= indexes.of(_indexes(pod for pod in situation.seen.pods if pods.is_terminating(pod)))
    taken |= situation.failed_indexes or Indexes()
    waits = {
        index: index_wait_s(awaiting.get(index), now) for index in islice(taken.missing(view.completions or 0), count)
    }
    now_possible = [index for index, wait_s in waits.items() if wait_s == 0]
    if not now_possible:
        return Actions(again_s=max(min(waits.values()), 1.0) if waits else None)
    return Actions(create=tuple(_indexed_pod(view, index, awaiting.get(index)) for index in now_possible))


def _pod(view: JobView) -> Object:
    pod = pods.pod_of(view.template, view.obj, JOBS)
    finalizers = pod["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    return pod


def _indexed_pod(view: JobView, index: int, replaced: Object | None) -> Object:
    pod = _pod(view)
    metadata, spec = pod["metadata"], pod["spec"]
    suffix = f"-{index}-"
    metadata["generateName"] = view.name[: GENERATED_NAME_BASE - len(suffix)] + suffix
    annotations = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if view.backoff_limit_per_index is not None:
        annotations |= failures_after(view, replaced)
    metadata["annotations"] = annotations
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
    spec["hostname"] = f"{view.name}-{index}"
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        variables = container.setdefault("env", [])
        if all(variable["name"] != INDEX_VARIABLE for variable in variables):
            source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
            variables.append({"name": INDEX_VARIABLE, "valueFrom": source})
    return pod
