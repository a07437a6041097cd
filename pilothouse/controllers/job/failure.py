"""What a failed pod means for its Job: the rules of the podFailurePolicy, and how long to wait before the next attempt.

Source: upstream `pkg/controller/job` (pod_failure_policy.go, backoff_utils.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.views.job import JobView
from pilothouse.api.views.pod import PodView

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES_OF_INDEX = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES_OF_INDEX = "batch.kubernetes.io/job-index-ignored-failure-count"
FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 600.0
MAX_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of a failed pod: the rule's action (empty if none matches), and for FailJob why."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts towards the limit."""
        return self.action != "Ignore"


def is_failed(job: JobView, pod: Mapping[str, Any]) -> bool:
    """Whether the pod counts as failed. One that is being deleted does, unless the Job waits for it to end."""
    view = PodView(pod)
    if view.phase == "Failed":
        return True
    return not job.replaces_only_failed and view.is_deleting and view.phase != "Succeeded"


def judge(job: JobView, pod: Mapping[str, Any]) -> Verdict:
    """The first rule that matches decides."""
    for number, rule in enumerate(job.pod_failure_rules or ()):
        action = rule["action"]
        if (codes := rule.get("onExitCodes")) is not None:
            container = _exited(pod, codes)
            if container is not None:
                code = container["state"]["terminated"]["exitCode"]
                what = f"Container {container['name']} for pod {meta.key_of(pod)} failed with exit code {code}"
                return Verdict(action, f"{what} matching {action} rule at index {number}")
        elif (patterns := rule.get("onPodConditions")) is not None:
            wanted = {(pattern["type"], pattern.get("status", "True")) for pattern in patterns}
            for condition in PodView(pod).conditions:
                if (condition["type"], condition["status"]) in wanted:
                    what = f"Pod {meta.key_of(pod)} has condition {condition['type']}"
                    return Verdict(action, f"{what} matching {action} rule at index {number}")
    return Verdict()


def _exited(pod: Mapping[str, Any], codes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    status = PodView(pod).status
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or codes.get("containerName", container["name"]) != container["name"]:
            continue
        code = ended.get("exitCode", 0)
        if code and (code in codes["values"]) == (codes["operator"] == "In"):
            return dict(container)
    return None


# Indexes


def index_of(pod: Mapping[str, Any]) -> int | None:
    """Its completion index; None if it has none."""
    text = meta.annotations_of(pod).get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() else None


def counted_failures(pod: Mapping[str, Any]) -> int:
    """How often pods of its index failed before it."""
    return _count(pod, FAILURES_OF_INDEX)


def all_failures(pod: Mapping[str, Any]) -> int:
    """The same with the failures that were ignored."""
    return counted_failures(pod) + _count(pod, IGNORED_FAILURES_OF_INDEX)


def failures_after(job: JobView, replaced: Mapping[str, Any] | None) -> dict[str, str]:
    """The annotations by which the pod that comes after `replaced` knows how often its index failed."""
    if replaced is None:
        return {FAILURES_OF_INDEX: "0"}
    counts = judge(job, replaced).counts
    ignored = _count(replaced, IGNORED_FAILURES_OF_INDEX) + (not counts)
    annotations = {FAILURES_OF_INDEX: str(counted_failures(replaced) + counts)}
    return annotations | ({IGNORED_FAILURES_OF_INDEX: str(ignored)} if ignored else {})


def _count(pod: Mapping[str, Any], annotation: str) -> int:
    text = meta.annotations_of(pod).get(annotation, "0")
    return int(text) if text.isascii() and text.isdigit() and int(text) <= MAX_INT32 else 0


# Waiting


@dataclass(frozen=True, slots=True)
class Failures:
    """How many pods failed since the last one succeeded, and when the last did."""

    count: int = 0
    last: float = 0.0

    def after(self, succeeded: Sequence[Object], failed: Sequence[Object]) -> Failures:
        """With these pods, which were not counted yet."""
        if succeeded:
            last_success = max(map(finished_at, succeeded))
            later = [when for pod in failed if (when := finished_at(pod)) > last_success]
            return Failures(len(later), max(later, default=0.0))
        if failed:
            return Failures(self.count + len(failed), max(map(finished_at, failed)))
        return self

    def wait_s(self, now: float) -> float:
        """How long to wait before the next attempt."""
        if not self.count:
            return 0.0
        pause_s = min(FIRST_WAIT_S * 2.0 ** min(self.count - 1, 16), LONGEST_WAIT_S)
        return max(0.0, self.last + pause_s - now)


NO_FAILURES = Failures()


def index_wait_s(failed: Mapping[str, Any] | None, now: float) -> float:
    """How long to wait before the next attempt of an index whose last pod was `failed`."""
    return 0.0 if failed is None else Failures(all_failures(failed) + 1, finished_at(failed)).wait_s(now)


def finished_at(pod: Mapping[str, Any]) -> float:
    """When the pod ended, as far as can be told from its containers, its Ready condition, its deletion or its creation."""
    view = PodView(pod)
    sidecars = {one["name"] for one in view.init_containers if one.get("restartPolicy") == "Always"}
    statuses = [
        *view.container_statuses,
        *(one for one in view.status.get("initContainerStatuses") or () if one["name"] in sidecars),
    ]
    ends = [((one.get("state") or {}).get("terminated") or {}).get("finishedAt") for one in statuses]
    if ends and all(ends):
        return max(meta.parse_time(end) for end in ends if end)
    ready = meta.condition_of(view.conditions, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return meta.parse_time(ready["lastTransitionTime"])
    if view.is_deleting:
        return meta.parse_time(view.metadata["deletionTimestamp"]) - (view.deletion_grace_period_s or 0)
    created = view.metadata.get("creationTimestamp")
    return meta.parse_time(created) if created else 0.0
