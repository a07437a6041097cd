"""The life of one pod on its node: running, terminating, terminated, and never back.

While it runs, every sync looks at the runtime if something may have changed there, reports the status that follows, computes the plan
and carries it out, until the plan is empty; then the worker sleeps until it is woken. Terminating ends the containers within
the grace period (which may be shortened while it runs) and the sandboxes. Terminated gives back volumes and cgroups, reports the last
status and, if the pod is being deleted, deletes it from the API for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import PODS
from pilothouse.api.meta import UID, Object
from pilothouse.api.view import json_copy
from pilothouse.api.views.pod import PodView
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.log import get_logger
from pilothouse.kit.tasks import leaf
from pilothouse.kubelet import status as pod_status
from pilothouse.kubelet.actuator import MINIMUM_GRACE_S, PodActuator
from pilothouse.kubelet.equipment import Equipment
from pilothouse.kubelet.pod_state import PodState
from pilothouse.kubelet.runtime.failures import RuntimeFailure, RuntimeUnavailable
from pilothouse.kubelet.runtime.records import PodRecord
from pilothouse.kubelet.seams import NotMounted
from pilothouse.kubelet.status import Verdict
from pilothouse.kubelet.sync import PodSync

log = get_logger("pilothouse.kubelet.worker")

_CLEAN_UP_RETRY = BackoffPolicy(0.1, 10.0, jitter=0.1)
_RESYNC_S = 60.0
_EXIT_RECHECK_S = 0.004
_EXIT_RECHECK_MAX_S = 1.0


class Stage(Enum):
    RUNNING = "running"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    GONE = "gone"


class PodWorker:
    """Works on one pod, by its UID. All methods but `run` only take note of something and return at once."""

    def __init__(self, pod: Object, equipment: Equipment) -> None:
        self.uid: UID = meta.uid_of(pod)
        self.stage = Stage.RUNNING
        self._state = PodState(pod, equipment)
        self._e = equipment
        self._actuator = PodActuator(equipment)
        self._sync = PodSync(self._state, self._actuator, equipment)
        self._wake = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self._was_interrupted = False
        self._recheck_s = _EXIT_RECHECK_S
        self._grace_s: int | None = None

    @property
    def pod(self) -> PodView:
        return self._state.pod

    @property
    def record(self) -> PodRecord:
        """What the runtime had of it when the worker last looked."""
        return self._state.record

    # What others tell it

    def update(self, pod: Object) -> None:
        """The pod has changed in the API."""
        before, self._state.pod = self.pod, PodView(pod)
        if self.pod.is_deleting:
            self._end()
            grace_s = self._deletion_grace()
            if self.stage is Stage.TERMINATING and self._grace_s is not None and grace_s < self._grace_s:
                self._interrupt()
        if _differs(before, self.pod):
            # Volumes may show the pod's own labels and annotations.
            self._state.volumes_fresh_at = None
            self._wake.set()
        elif self._e.reporter.wanted(self.uid) is not None:
            # Mostly the echo of an own report; if somebody else wrote the status, it is written again.
            self._e.reporter.report(pod, self._state.status)

    def removed(self) -> None:
        """The pod is no longer in the API."""
        self._state.removed = True
        self._end()
        self._wake.set()

    def wake(self) -> None:
        """The result of a probe has changed."""
        self._wake.set()

    def freshen(self) -> None:
        """What the pod's volumes are made from has changed."""
        self._state.volumes_fresh_at = None
        self._wake.set()

    def notice(self, exited_id: str = "") -> None:
        """The runtime has something new of the pod; `exited_id` is a container that has just ended."""
        self._state.dirty = True
        if exited_id:
            self._state.expected_exits.add(exited_id)
            self._recheck_s = _EXIT_RECHECK_S
        self._wake.set()

    def fail(self, verdict: Verdict) -> None:
        """End the pod as Failed: it was evicted or may not run here."""
        self._state.verdict = verdict
        self._end()
        self._wake.set()

    @property
    def is_active(self) -> bool:
        """Whether the pod takes up room on the node."""
        return self._state.verdict is None and self.stage in (Stage.RUNNING, Stage.TERMINATING)

    @property
    def reported(self) -> Object:
        """The pod with the status that was computed last."""
        obj: Object = dict(self.pod.obj)
        obj["status"] = {**self.pod.status, **self._state.status}
        return obj

    def _end(self) -> None:
        if not self._state.ending:
            self._state.ending = True
            if self.stage is Stage.RUNNING:
                self._interrupt()
        self._wake.set()

    def _interrupt(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    # Its life

    async def run(self) -> None:
        """Live the pod's life to the end."""
        while not self._state.ending:
            await self._guarded(self._sync.run)
            if not self._state.ending:
                await self._sleep()
        self.stage = Stage.TERMINATING
        self._e.prober.stop_liveness(self.uid)
        backoff = Backoff(_CLEAN_UP_RETRY, self._e.rng)
        first = True
        while not await self._guarded(lambda quietly=not first: self._terminate(quietly)):  # type: ignore[misc]
            first = False
            if not self._was_interrupted:
                await self._e.clock.sleep(backoff.next())
        self.stage = Stage.TERMINATED
        backoff.reset()
        while not await self._guarded(self._finish):
            await self._e.clock.sleep(backoff.next())
        self._e.reporter.forget(self.uid)
        self._e.images.forget(self.uid)
        for owned in [owned for owned, uid in self._e.owners.items() if uid == self.uid]:
            del self._e.owners[owned]
        self.stage = Stage.GONE

    async def _guarded(self, step: Callable[[], Any]) -> bool:
        """Take a step that `_interrupt` can cut short; whether it came to its end without an error."""
        self._was_interrupted = False
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope = scope
                await step()
            return True
        except Exception as error:
            self._was_interrupted = scope.expired()
            if not self._was_interrupted:
                self._tell_failure(leaf(error))
                self._state.retry_later()
        finally:
            self._scope = None
        return False

    def _tell_failure(self, failure: BaseException) -> None:
        where = {"pod": self.pod.key, "stage": self.stage.value}
        if isinstance(failure, RuntimeUnavailable):
            # Who watches the runtime says so once for all pods.
            log.debug("the runtime does not answer", **where)
        elif isinstance(failure, RuntimeFailure):
            log.warning("the runtime failed", error=str(failure), **where)
        elif isinstance(failure, status.StatusError):
            log.warning("the API failed", error=failure.message, **where)
        else:
            log.exception("pod worker failed", **where)

    async def _sleep(self) -> None:
        clock = self._e.clock
        if self._state.expected_exits:
            self._state.wake_within(self._recheck_s)
            self._recheck_s = min(self._recheck_s * 2, _EXIT_RECHECK_MAX_S)
        self._state.wake_within(_RESYNC_S * (1 + 0.1 * self._e.rng.random()))
        delay_s = (self._state.wake_at or clock.monotonic()) - clock.monotonic()
        self._state.wake_at = None
        timer = clock.call_later(delay_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
            self._wake.clear()

    # Terminating

    def _deletion_grace(self) -> int:
        grace_s = self.pod.deletion_grace_period_s
        if grace_s is None:
            own = self.pod.spec.get("terminationGracePeriodSeconds")
            grace_s = 30 if own is None else int(own)
        return max(1, grace_s)

    async def _terminate(self, quietly: bool) -> None:
        """End all containers, then the sandboxes, while volumes are torn down."""
        self._state.dirty = True
        await self._state.refresh()
        if self.record.running:
            self._grace_s = self._deletion_grace()
            await self._actuator.kill_all(self.pod, self.record, self._grace_s, self._state.ips, quietly=quietly)
            self._state.dirty = True
            await self._state.refresh()
            if self.record.running:
                # The runtime has stopped them, or says so: its list follows a moment later.
                await self._until_stopped()
        self._e.prober.forget(self.uid)
        # The last status is on its way while the sandbox stops.
        self._state.finished = True
        self._state.report()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._actuator.stop_sandboxes(self.record))
            group.create_task(self._tear_down_volumes())

    async def _until_stopped(self) -> None:
        delay_s = _EXIT_RECHECK_S
        while self.record.running:
            if delay_s > _EXIT_RECHECK_MAX_S:
                names = ", ".join(container.name for container in self.record.running)
                raise RuntimeFailure(f"containers still run after they were stopped: {names}")
            await self._e.clock.sleep(delay_s)
            delay_s *= 2
            self._state.dirty = True
            await self._state.refresh()

    async def _tear_down_volumes(self) -> None:
        try:
            await self._e.volumes.tear_down(self.uid)
        except NotMounted as problem:
            raise RuntimeFailure(f"volumes not torn down: {problem}") from None

    # Terminated

    async def _finish(self) -> None:
        """Report the last status, and stay until the pod is deleted: then delete it for good and leave nothing of it."""
        self._e.cgroups.tear_down(self.uid)
        if not self.pod.is_deleting:
            self._state.dirty = True
            await self._state.refresh()
        while not self._state.removed:
            if self.pod.is_deleting:
                await self._e.reporter.settled(self.uid)
                # With finalizers the pod stays a while longer, but nothing of it is left for the kubelet to do.
                await self._delete()
                break
            self._state.report()
            await self._sleep()
        await self._actuator.remove_all(self.record)
        await self._tear_down_volumes()
        self._e.files.remove_pod(self.uid, self.pod.namespace, self.pod.name)

    async def _delete(self) -> None:
        try:
            await self._e.client.delete(PODS, self.pod.namespace, self.pod.name, grace_period_s=0, uid=self.uid)
        except (status.NotFound, status.Conflict):
            return


def _differs(before: PodView, after: PodView) -> bool:
    """Whether anything but the status and the server's bookkeeping has changed, or a condition that others set."""
    if before.spec != after.spec or _own_metadata(before.metadata) != _own_metadata(after.metadata):
        return True
    return _foreign(before.conditions) != _foreign(after.conditions)


def _own_metadata(metadata: Mapping[str, Any]) -> Object:
    return {key: value for key, value in metadata.items() if key not in ("resourceVersion", "managedFields")}


def _foreign(conditions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [condition for condition in conditions if condition["type"] not in pod_status.OWN_CONDITIONS]


def orphan_pod(record: PodRecord) -> Object:
    """The least of a Pod object by which what runs of a pod that the API no longer has can be ended, within the least grace."""
    return json_copy(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": record.name,
                "namespace": record.namespace,
                "uid": record.uid,
                "deletionTimestamp": meta.format_time(0),
                "deletionGracePeriodSeconds": MINIMUM_GRACE_S,
            },
            "spec": {"containers": [{"name": name} for name in sorted({c.name for c in record.containers})]},
        }
    )
