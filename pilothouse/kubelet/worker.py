"""The life of one pod on its node: running, terminating, terminated, and never back.

While it runs, every sync looks at the runtime if something may have changed there, reports the status that follows, computes the plan
and carries it out, until the plan is empty; then the worker sleeps until it is woken. Terminating ends the containers within
the grace period (which may be shortened while it runs) and the sandboxes. Terminated gives back volumes and cgroups, reports the last
status and, if the pod is being deleted, deletes it from the API for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import PODS
from pilothouse.api.meta import UID, Object
from pilothouse.api.view import json_copy
from pilothouse.api.views.pod import PodView
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.log import get_logger
from pilothouse.kubelet import plan
from pilothouse.kubelet import status as pod_status
from pilothouse.kubelet.actuator import MINIMUM_GRACE_S, PodActuator, SandboxFailure, StartFailure, find_container
from pilothouse.kubelet.container_status import Waiting
from pilothouse.kubelet.equipment import Equipment
from pilothouse.kubelet.images import ImageFailure
from pilothouse.kubelet.plan import ContainerKind, Held, KillReason, Plan, Start
from pilothouse.kubelet.restart import Delay, format_delay, is_sidecar
from pilothouse.kubelet.runtime import Image, PodRecord, Resources, RuntimeFailure, RuntimeUnavailable, SandboxSpec
from pilothouse.kubelet.seams import ConfigError, NotMounted
from pilothouse.kubelet.status import Verdict
from pilothouse.kubelet.termination_message import with_messages

log = get_logger("pilothouse.kubelet.worker")

_RETRY = BackoffPolicy(0.5, 10.0, jitter=0.1)
_CLEAN_UP_RETRY = BackoffPolicy(0.1, 10.0, jitter=0.1)
_NETWORK_RETRY_S = 1.0
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
        self.pod = PodView(pod)
        self.uid: UID = self.pod.uid
        self.stage = Stage.RUNNING
        self.record = PodRecord(self.uid)
        self._e = equipment
        self._actuator = PodActuator(equipment)
        self._wake = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self._dirty = True
        self._expected_exits: set[str] = set()
        self._recheck_s = _EXIT_RECHECK_S
        self._waiting: dict[str, Waiting] = {}
        self._delays: dict[str, Delay] = {}
        self._status: Object = dict(self.pod.status)
        self._verdict: Verdict | None = None
        self._ending = self.pod.is_deleting or self.pod.is_terminal
        self._removed = False
        self._grace_s: int | None = None
        self._wake_at: float | None = None
        self._failures = Backoff(_RETRY, equipment.rng)
        self._mounts_failed = False
        self._volumes_fresh_at: float | None = None
        self._was_interrupted = False
        self._applied: dict[str, Resources] = {}

    # What others tell it

    def update(self, pod: Object) -> None:
        """The pod has changed in the API."""
        before, self.pod = self.pod, PodView(pod)
        if self.pod.is_deleting:
            self._end()
            grace_s = self._deletion_grace()
            if self.stage is Stage.TERMINATING and self._grace_s is not None and grace_s < self._grace_s:
                self._interrupt()
        if _differs(before, self.pod):
            # Volumes may show the pod's own labels and annotations.
            self._volumes_fresh_at = None
            self._wake.set()
        elif self._e.reporter.wanted(self.uid) is not None:
            # Mostly the echo of an own report; if somebody else wrote the status, it is written again.
            self._e.reporter.report(pod, self._status)

    def removed(self) -> None:
        """The pod is no longer in the API."""
        self._removed = True
        self._end()
        self._wake.set()

    def wake(self) -> None:
        """The result of a probe has changed."""
        self._wake.set()

    def freshen(self) -> None:
        """What the pod's volumes are made from has changed."""
        self._volumes_fresh_at = None
        self._wake.set()

    def notice(self, exited_id: str = "") -> None:
        """The runtime has something new of the pod; `exited_id` is a container that has just ended."""
        self._dirty = True
        if exited_id:
            self._expected_exits.add(exited_id)
            self._recheck_s = _EXIT_RECHECK_S
        self._wake.set()

    def fail(self, verdict: Verdict) -> None:
        """End the pod as Failed: it was evicted or may not run here."""
        self._verdict = verdict
        self._end()
        self._wake.set()

    @property
    def is_active(self) -> bool:
        """Whether the pod takes up room on the node."""
        return self._verdict is None and self.stage in (Stage.RUNNING, Stage.TERMINATING)

    @property
    def reported(self) -> Object:
        """The pod with the status that was computed last."""
        obj: Object = dict(self.pod.obj)
        obj["status"] = {**self.pod.status, **self._status}
        return obj

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            if self.stage is Stage.RUNNING:
                self._interrupt()
        self._wake.set()

    def _interrupt(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    # Its life

    async def run(self) -> None:
        """Live the pod's life to the end."""
        while not self._ending:
            await self._guarded(self._sync)
            if not self._ending:
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
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                await step()
            return True
        except TimeoutError:
            self._was_interrupted = True
        except Exception as error:
            failure = _leaf(error)
            if isinstance(failure, RuntimeUnavailable):
                # Who watches the runtime says so once for all pods.
                log.debug("the runtime does not answer", pod=self.pod.key, stage=self.stage.value)
            elif isinstance(failure, RuntimeFailure):
                log.warning("the runtime failed", pod=self.pod.key, stage=self.stage.value, error=str(failure))
            else:
                log.exception("pod worker failed", pod=self.pod.key, stage=self.stage.value)
            self._retry_later()
        finally:
            self._scope = None
        return False

    def _retry_later(self) -> None:
        self._dirty = True
        self._wake_within(self._failures.next())

    def _wake_within(self, seconds: float) -> None:
        at = self._e.clock.monotonic() + max(seconds, 0.0)
        self._wake_at = at if self._wake_at is None else min(self._wake_at, at)

    async def _sleep(self) -> None:
        clock = self._e.clock
        if self._expected_exits:
            self._wake_within(self._recheck_s)
            self._recheck_s = min(self._recheck_s * 2, _EXIT_RECHECK_MAX_S)
        self._wake_within(_RESYNC_S * (1 + 0.1 * self._e.rng.random()))
        delay_s = (self._wake_at or clock.monotonic()) - clock.monotonic()
        self._wake_at = None
        timer = clock.call_later(delay_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
            self._wake.clear()

    # Running

    async def _sync(self) -> None:
        while True:
            await self._refresh()
            if self._check_end():
                return
            if self._e.host.network_problem and not self.pod.host_network:
                message = f"network is not ready: {self._e.host.network_problem}"
                self._e.tell(self.pod, "Warning", "NetworkNotReady", message)
                self._wake_within(_NETWORK_RETRY_S)
                return
            computed = plan.compute(
                plan.Situation(
                    self.pod,
                    self.record,
                    self._e.prober.result,
                    self._delays,
                    self._e.clock.now(),
                    self._e.backoff,
                )
            )
            self._hold(computed.held)
            if computed.is_empty:
                if await self._resize():
                    continue
                await self._freshen_volumes()
                return
            if not await self._carry_out(computed):
                return

    async def _refresh(self) -> None:
        """Look at the runtime if something may have changed there, and report the status that follows."""
        if self._dirty or self._expected_exits:
            self._dirty = False
            try:
                record = await self._e.runtime.pod(self.uid, self.record)
            except BaseException:
                self._dirty = True
                raise
            self.record = with_messages(record, self.record)
            ids = [sandbox.id for sandbox in self.record.sandboxes] + [c.id for c in self.record.containers]
            self._e.owners.update(dict.fromkeys(ids, self.uid))
            running = {container.id for container in self.record.running}
            self._expected_exits &= running
        self._e.prober.observe(self._object, self.record, self._ips)
        self._report()

    @property
    def _object(self) -> Any:
        return self.pod.obj

    @property
    def _ips(self) -> Sequence[str]:
        return self._e.options.node_ips if self.pod.host_network else self.record.ips

    def _compute_status(self) -> pod_status.Computed:
        return pod_status.compute(
            pod_status.Facts(
                pod=self.pod,
                record=self.record,
                previous=self._status,
                waiting=self._waiting,
                results=self._e.prober.result,
                host_ips=self._e.options.node_ips,
                runtime_name=self._e.host.runtime_name,
                now=self._e.clock.now(),
                verdict=self._verdict,
                is_finished=self.stage in (Stage.TERMINATED, Stage.GONE),
                may_run=bool(self.record.running),
            )
        )

    def _report(self) -> bool:
        """Report the status; whether the pod has ended."""
        computed = self._compute_status()
        self._status = computed.status
        if not self._removed:
            self._e.reporter.report(self._object, computed.status)
        return computed.has_ended

    def _check_end(self) -> bool:
        """Whether the pod is to be terminated: it has ended, or its deadline has passed."""
        if (limit := self.pod.spec.get("activeDeadlineSeconds")) is not None:
            left = meta.parse_time(self._status["startTime"]) + limit - self._e.clock.now()
            if left <= 0:
                message = "Pod was active on the node longer than the specified deadline"
                self._verdict = Verdict("DeadlineExceeded", message)
                self._e.tell(self.pod, "Normal", "DeadlineExceeded", message)
            else:
                self._wake_within(left)
        if self._report():
            self._ending = True
        return self._ending

    def _hold(self, held: Sequence[Held]) -> None:
        now = self._e.clock.now()
        for one in held:
            pod = self.pod
            full_name = f"{pod.name}_{pod.namespace}({pod.uid})"
            message = f"back-off {format_delay(one.delay_s)} restarting failed container={one.name} pod={full_name}"
            if self._waiting.get(one.name) != Waiting("CrashLoopBackOff", message):
                self._waiting[one.name] = Waiting("CrashLoopBackOff", message)
                kind = "initContainers" if one.kind is ContainerKind.INIT else "containers"
                text = f"Back-off restarting failed container {one.name} in pod {full_name}"
                self._e.tell(pod, "Warning", "BackOff", text, container=one.name, kind=kind)
                self._report()
            self._wake_within(one.until - now)

    async def _resize(self) -> bool:
        """Give running containers the resources that the pod has now (KEP-1287); whether one had to be killed for that."""
        killed = False
        for running in self.record.running:
            container, _ = find_container(self.pod, running.name)
            desired = self._e.cgroups.container_resources(self._object, container)
            # The score cannot change while a process runs, and what an earlier kubelet applied is not known.
            applied = self._applied.setdefault(running.id, desired)
            desired = replace(desired, oom_score_adj=applied.oom_score_adj)
            if desired == applied:
                continue
            self._e.cgroups.set_up(self._object)
            if _needs_restart(container, applied, desired):
                message = f"Container {running.name} resize requires restart"
                await self._actuator.kill(self.pod, running, message, KillReason.OTHER, self._ips)
                self._dirty = killed = True
                continue
            await self._e.runtime.update_resources(running.id, desired)
            self._applied[running.id] = desired
        return killed

    async def _freshen_volumes(self) -> None:
        now = self._e.clock.monotonic()
        if self._volumes_fresh_at is not None and now - self._volumes_fresh_at < _RESYNC_S:
            return
        self._volumes_fresh_at = now
        try:
            await self._e.volumes.set_up(self._object)
        except NotMounted as problem:
            log.warning("volumes not freshened", pod=self.pod.key, error=str(problem))
            self._wake_within(self._failures.next())

    async def _carry_out(self, computed: Plan) -> bool:
        """Whether to look at once for what comes next."""
        for reset in computed.resets:
            self._dirty = True
            await self._actuator.reset(self.pod, self.record, reset, self._ips)
        if computed.resets:
            return True
        if computed.stop_pod:
            await self._actuator.kill_all(self.pod, self.record, None, self._ips)
            self._dirty = True
            await self._actuator.stop_sandboxes(self.record)
            if not computed.create_sandbox:
                return True
        for kill in computed.kills:
            killed = next((c for c in self.record.containers if c.id == kill.container_id), None)
            if killed is not None:
                self._dirty = True
                await self._actuator.kill(self.pod, killed, kill.message, kill.reason, self._ips)
        await self._remove(computed.removals)
        if computed.kills:
            await self._refresh()
        if not computed.starts and not computed.create_sandbox:
            return True
        cgroup_parent = self._e.cgroups.set_up(self._object)
        try:
            spec = await self._actuator.sandbox_spec(self.pod, computed.attempt, cgroup_parent)
            if self.pod.spec.get("runtimeClassName"):
                spec = replace(spec, runtime_handler=await self._actuator.runtime_handler(self.pod))
        except (ConfigError, SandboxFailure) as problem:
            return self._no_sandbox(str(problem))
        return await self._start(computed, spec)

    async def _remove(self, container_ids: Sequence[str]) -> None:
        for container_id in container_ids:
            self._dirty = True
            await self._actuator.remove_container(self.record, container_id)

    def _no_sandbox(self, problem: str) -> bool:
        self._e.tell(self.pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {problem}")
        self._retry_later()
        return False

    async def _start(self, computed: Plan, spec: SandboxSpec) -> bool:
        """Make the sandbox if need be, and start containers. Volumes and images are got while the sandbox is made."""
        images = _Images(self._actuator, self.pod)
        sandbox_id = computed.sandbox_id
        if computed.create_sandbox and computed.sandbox_id:
            message = "Pod sandbox changed, it will be killed and re-created."
            self._e.tell(self.pod, "Normal", "SandboxChanged", message)
        if self._mounts_failed and not await self._mount():
            return False
        failure: SandboxFailure | None = None
        mounted = True
        try:
            async with asyncio.TaskGroup() as group:
                for start in computed.starts[:1]:
                    images.begin(group, start)
                mounting = None if self._mounts_failed else group.create_task(self._mount())
                if computed.create_sandbox:
                    self._dirty = True
                    sandbox_id = await self._actuator.create_sandbox(self.pod, spec)
                    await self._refresh()
            mounted = mounting is None or mounting.result()
        except* SandboxFailure as failures:
            failure = SandboxFailure(str(_leaf(failures)))
        if failure is not None:
            return self._no_sandbox(str(failure))
        self._mounts_failed = not mounted
        if not mounted:
            if computed.create_sandbox:
                # A pod that cannot start must not look as if it could.
                await self._actuator.stop_sandboxes(self.record)
                await self._actuator.remove_all(self.record)
                self._dirty = True
                await self._refresh()
            return False
        return await self._start_containers(computed.starts, sandbox_id, spec, images)

    async def _mount(self) -> bool:
        try:
            await self._e.volumes.set_up(self._object)
        except NotMounted as problem:
            self._e.tell(self.pod, "Warning", "FailedMount", str(problem))
            self._wake_within(self._failures.next())
            return False
        self._volumes_fresh_at = self._e.clock.monotonic()
        return True

    async def _start_containers(
        self, starts: Sequence[Start], sandbox_id: str, spec: SandboxSpec, images: _Images
    ) -> bool:
        failed = False
        for start in starts:
            container, kind = find_container(self.pod, start.name)
            self._dirty = True
            if start.delay is not None:
                self._delays[start.name] = start.delay
            try:
                container_id = await self._actuator.start(
                    self.pod,
                    container,
                    kind,
                    self.record,
                    sandbox_id,
                    spec,
                    lambda start=start: images.get(start),  # type: ignore[misc]
                    self._ips,
                )
            except StartFailure as failure:
                failed = True
                self._waiting[start.name] = failure.waiting
                if failure.retry_at is None:
                    self._wake_within(self._failures.next())
                elif failure.waiting.reason == "ErrImagePull":
                    self._wake_within(1.0)
                else:
                    self._wake_within(failure.retry_at - self._e.clock.monotonic())
                if kind is ContainerKind.INIT and not is_sidecar(container):
                    break
                continue
            self._waiting.pop(start.name, None)
            self._applied[container_id] = self._e.cgroups.container_resources(self._object, container)
        if failed:
            await self._refresh()
            return False
        self._failures.reset()
        return True

    # Terminating

    def _deletion_grace(self) -> int:
        grace_s = self.pod.deletion_grace_period_s
        if grace_s is None:
            own = self.pod.spec.get("terminationGracePeriodSeconds")
            grace_s = 30 if own is None else int(own)
        return max(1, grace_s)

    async def _terminate(self, quietly: bool) -> None:
        """End all containers, then the sandboxes, while volumes are torn down."""
        self._dirty = True
        await self._refresh()
        if self.record.running:
            self._grace_s = self._deletion_grace()
            await self._actuator.kill_all(self.pod, self.record, self._grace_s, self._ips, quietly=quietly)
            self._dirty = True
            await self._refresh()
            if self.record.running:
                # The runtime has stopped them, or says so: its list follows a moment later.
                await self._until_stopped()
        self._e.prober.forget(self.uid)
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
            self._dirty = True
            await self._refresh()

    async def _tear_down_volumes(self) -> None:
        try:
            await self._e.volumes.tear_down(self.uid)
        except NotMounted as problem:
            raise RuntimeFailure(f"volumes not torn down: {problem}") from None

    # Terminated

    async def _finish(self) -> None:
        """Report the last status, and stay until the pod is deleted: then delete it for good and leave nothing of it."""
        self._dirty = True
        await self._refresh()
        self._e.cgroups.tear_down(self.uid)
        while not self._removed:
            self._report()
            if self.pod.is_deleting:
                await self._e.reporter.settled(self.uid)
                # With finalizers the pod stays a while longer, but nothing of it is left for the kubelet to do.
                await self._delete()
                break
            await self._sleep()
        await self._actuator.remove_all(self.record)
        await self._tear_down_volumes()
        self._e.files.remove_pod(self.uid, self.pod.namespace, self.pod.name)

    async def _delete(self) -> None:
        try:
            await self._e.client.delete(PODS, self.pod.namespace, self.pod.name, grace_period_s=0, uid=self.uid)
        except (status.NotFound, status.Conflict):
            return


class _Images:
    """The images of the containers to start; the first is got ahead."""

    def __init__(self, actuator: PodActuator, pod: PodView) -> None:
        self._actuator = actuator
        self._pod = pod
        self._ahead: dict[str, asyncio.Task[Image | ImageFailure]] = {}

    def begin(self, group: asyncio.TaskGroup, start: Start) -> None:
        self._ahead[start.name] = group.create_task(self._fetch(start))

    async def get(self, start: Start) -> Image:
        """Raises ImageFailure."""
        task = self._ahead.get(start.name)
        found = await (task if task is not None else self._fetch(start))
        if isinstance(found, ImageFailure):
            raise found
        return found

    async def _fetch(self, start: Start) -> Image | ImageFailure:
        container, kind = find_container(self._pod, start.name)
        try:
            return await self._actuator.image(self._pod, container, kind)
        except ImageFailure as failure:
            return failure


def _needs_restart(container: Mapping[str, Any], applied: Resources, desired: Resources) -> bool:
    policies = {entry["resourceName"]: entry.get("restartPolicy") for entry in container.get("resizePolicy") or ()}
    changed = set()
    if (applied.cpu_shares, applied.cpu_quota) != (desired.cpu_shares, desired.cpu_quota):
        changed.add("cpu")
    if applied.memory_limit_bytes != desired.memory_limit_bytes:
        changed.add("memory")
    return any(policies.get(name) == "RestartContainer" for name in changed)


def _differs(before: PodView, after: PodView) -> bool:
    """Whether anything but the status and the server's bookkeeping has changed, or a condition that others set."""
    if before.spec != after.spec or _own_metadata(before.metadata) != _own_metadata(after.metadata):
        return True
    return _foreign(before.conditions) != _foreign(after.conditions)


def _own_metadata(metadata: Mapping[str, Any]) -> Object:
    return {key: value for key, value in metadata.items() if key not in ("resourceVersion", "managedFields")}


def _foreign(conditions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [condition for condition in conditions if condition["type"] not in pod_status.OWN_CONDITIONS]


def _leaf(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


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
