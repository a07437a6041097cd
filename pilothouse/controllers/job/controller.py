"""The control loop of Jobs."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import meta, selector, status
from pilothouse.api.gvr import JOBS, PODS
from pilothouse.api.meta import Object
from pilothouse.api.views.job import JobView
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import PatchType
from pilothouse.controllers import pods
from pilothouse.controllers.expectations import Expectations, Written
from pilothouse.controllers.job.failure import Failures
from pilothouse.controllers.job.plan import FINALIZER, Actions, Seen, has_finalizer, look, plan
from pilothouse.controllers.job.tracking import Event, Outcome, Tracking, conclude, track
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit.tasks import each

BATCH_S = 1.0
"""Changes of pods within this time are taken together."""
_ORPHAN = "pod:"
"""What precedes the key of a pod that no unfinished Job counts; no namespace begins so."""


class JobController(Controller):
    """The control loop of Jobs."""

    name = "job-controller"
    account = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations(context.clock)
        self._written = Written()
        self._released: dict[str, set[str]] = {}
        self._failures: dict[str, Failures] = {}
        self._events = context.recorder(self.name)
        self._control = pods.PodControl(self.client, self._events, JOBS)
        self._jobs = pods.index_by_controller(context.informers.of(JOBS))
        self._pods = pods.index_by_controller(context.informers.of(PODS))
        self.follow(self._jobs, self._job_changed)
        self.follow(self._pods, self._pod_changed)

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_ORPHAN):
            await self._release_orphan(key.removeprefix(_ORPHAN))
            return None
        job = self._jobs.get(key)
        if job is None or JobView(job).finished is not None:
            self._forget(key)
            if job is not None and not JobView(job).is_managed_elsewhere:
                await self._release_finished(job)
            return None
        # What was written before comes with an event, which brings the key back.
        if JobView(job).is_managed_elsewhere or not self._written.is_seen(key, self._jobs):
            return None
        is_settled = self._expectations.are_met(key)
        owned = await self._claim(job)
        released = frozenset(self._released.get(key, ()))
        failures = self._failures.get(key, Failures())
        situation = look(Seen(job, owned, is_settled, released, failures, self.clock.now()))
        actions = plan(situation)
        outcome, failure = await self._act(key, job, actions)
        tracking = track(situation, actions, outcome)
        await self._track(key, job, tracking)
        self._failures[key] = situation.failures
        if failure is not None:
            raise failure
        return actions.again_s

    async def _claim(self, job: Object) -> Sequence[Object]:
        selects = selector.from_object(JobView(job).selector)
        claimed = pods.claim(job, selects, pods.candidates(self._pods, job))
        return await pods.settle_claim(self.client, job, JOBS, claimed, PODS, finalizers=(FINALIZER,))

    # Acting

    async def _act(self, key: str, job: Object, actions: Actions) -> tuple[Outcome, Exception | None]:
        if actions.create:
            self._expectations.expect_creations(key, len(actions.create))
            left = iter(actions.create)
            created, failure = await pods.slow_start(len(actions.create), lambda: self._create(job, next(left)))
            for _ in range(len(actions.create) - created):
                self._expectations.creation_observed(key)
            return Outcome(created=created), failure
        if not actions.is_ending:
            self._expectations.expect_deletions(key, [meta.uid_of(pod) for pod in actions.delete])

        async def delete(pod: Object) -> None:
            # What is deleted because there are too many is not counted as failed.
            if not actions.is_ending and has_finalizer(pod):
                await self._remove_finalizer(pod)
            await self._control.delete(job, pod)

        deleted, deleted_ready, failure = 0, 0, None
        for pod, result in await each(actions.delete, delete, limit=pods.AT_ONCE):
            if isinstance(result, Exception):
                self._expectations.deletion_observed(key, meta.uid_of(pod))
            if isinstance(result, Exception) and not isinstance(result, status.NotFound):
                failure = failure or result
                continue
            deleted += 1
            deleted_ready += PodView(pod).is_ready
        return Outcome(deleted, deleted_ready), failure

    async def _create(self, job: Object, pod: Object) -> None:
        try:
            await self._control.create(job, pod)
        except status.StatusError as error:
            # In a namespace that is going every creation fails, and none is wanted any more.
            if not pods.is_namespace_terminating(error):
                raise

    async def _track(self, key: str, job: Object, tracking: Tracking) -> None:
        if tracking.is_changed:
            job = await self._write(key, job, tracking.status)
        self._tell(job, tracking.events)
        released, failure = await self._release(key, tracking.release)
        conclusion = conclude(job, tracking, released, self.clock.now())
        if failure is not None:
            if conclusion.is_changed and not conclusion.is_finished:
                await self._write(key, job, conclusion.status)
            raise failure
        if conclusion.is_changed:
            await self._write(key, job, conclusion.status)
        self._tell(job, conclusion.events)

    async def _write(self, key: str, job: Object, new_status: Object) -> Object:
        written = await self.client.update_status(JOBS, {**job, "status": new_status})
        self._written.note(key, written)
        return written

    def _tell(self, job: Object, events: Sequence[Event]) -> None:
        for type_, reason, message in events:
            self._events.event(job, JOBS, type_, reason, message)

    async def _release(self, key: str, counted: Sequence[Object]) -> tuple[list[str], Exception | None]:
        """Remove the finalizers of `counted`; returns the UIDs of those that have lost theirs, and the first failure."""
        awaited = self._released.setdefault(key, set())
        awaited.update(meta.uid_of(pod) for pod in counted)
        released: list[str] = []
        failure = None
        for pod, result in await each(counted, self._remove_finalizer, limit=pods.AT_ONCE):
            uid = meta.uid_of(pod)
            if isinstance(result, Exception):
                awaited.discard(uid)
            if isinstance(result, Exception) and not isinstance(result, status.NotFound):
                failure = failure or result
            else:
                released.append(uid)
        return released, failure

    async def _remove_finalizer(self, pod: Object) -> None:
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
        await self.client.patch(PODS, meta.namespace_of(pod), meta.name_of(pod), patch, type=PatchType.STRATEGIC)

    # Pods that nobody counts

    async def _release_finished(self, job: Object) -> None:
        for pod in self._pods.by_index(pods.BY_CONTROLLER, meta.uid_of(job)):
            if has_finalizer(pod):
                await self._release_orphan(meta.key_of(pod))

    async def _release_orphan(self, key: str) -> None:
        pod = self._pods.get(key)
        if pod is None or not has_finalizer(pod):
            return
        controller = meta.controller_of(pod)
        if controller is not None:
            if controller["kind"] != JOBS.kind or controller["apiVersion"] != JOBS.api_version:
                return
            job = self._job_of(pod)
            if job is not None and (JobView(job).is_managed_elsewhere or JobView(job).finished is None):
                return
        try:
            await self._remove_finalizer(pod)
        except status.NotFound:
            return

    # Hearing

    def _forget(self, key: str) -> None:
        self._expectations.forget(key)
        self._written.forget(key)
        self._released.pop(key, None)
        self._failures.pop(key, None)

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._forget(meta.key_of(old))
                for pod in self._pods.by_index(pods.BY_CONTROLLER, meta.uid_of(old)):
                    if has_finalizer(pod):
                        self.queue.add(_ORPHAN + meta.key_of(pod))
            return
        is_new = old is None or meta.uid_of(old) != meta.uid_of(new)
        if old is not None and is_new:
            self._forget(meta.key_of(old))
        if is_new or (old is not None and JobView(old).generation != JobView(new).generation):
            self.queue.add(meta.key_of(new))
        else:
            self.queue.add_after(meta.key_of(new), BATCH_S)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or meta.is_deleting(new):
            self._pod_goes(old if new is None else new, is_gone=new is None)
            return
        before = meta.controller_of(old) if old is not None else None
        controller = meta.controller_of(new)
        if old is not None and before != controller and (former := self._job_of(old)) is not None:
            self._observe(meta.key_of(former), new)
        if controller is not None:
            if (job := self._job_of(new)) is not None:
                key = meta.key_of(job)
                if old is None:
                    self._expectations.creation_observed(key)
                self._observe(key, new)
            return
        if has_finalizer(new):
            self.queue.add(_ORPHAN + meta.key_of(new))
        if old is None or before is not None or old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._orphan_changed(new)

    def _pod_goes(self, pod: Object | None, *, is_gone: bool) -> None:
        if pod is None:
            return
        job = self._job_of(pod)
        if job is None or JobView(job).finished is not None:
            controller = meta.controller_of(pod)
            if has_finalizer(pod) and not is_gone and (controller is None or controller["kind"] == JOBS.kind):
                self.queue.add(_ORPHAN + meta.key_of(pod))
            return
        key = meta.key_of(job)
        self._expectations.deletion_observed(key, meta.uid_of(pod))
        self._observe(key, pod, is_gone=is_gone)

    def _observe(self, key: str, pod: Object, *, is_gone: bool = False) -> None:
        if (is_gone or not has_finalizer(pod)) and key in self._released:
            self._released[key].discard(meta.uid_of(pod))
        self.queue.add_after(key, BATCH_S)

    def _job_of(self, pod: Object) -> Object | None:
        controller = meta.controller_of(pod)
        if controller is None or controller["kind"] != JOBS.kind:
            return None
        job = self._jobs.get(meta.join_key(meta.namespace_of(pod), controller["name"]))
        return job if job is not None and meta.uid_of(job) == controller["uid"] else None

    def _orphan_changed(self, pod: Object) -> None:
        namespace, labels = meta.namespace_of(pod), meta.labels_of(pod)
        for job in self._jobs.list() if labels else ():
            view = JobView(job)
            if view.namespace == namespace and selector.from_object(view.selector).matches(labels):
                self.queue.add_after(view.key, BATCH_S)
