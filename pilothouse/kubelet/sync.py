"""Makes a running pod what its spec says: looks, plans, carries the plan out, until there is nothing left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pilothouse.api import meta
from pilothouse.kit.log import get_logger
from pilothouse.kit.tasks import leaf
from pilothouse.kubelet import plan
from pilothouse.kubelet.actuator import PodActuator, SandboxFailure, StartFailure, find_container
from pilothouse.kubelet.container_status import Waiting
from pilothouse.kubelet.equipment import Equipment
from pilothouse.kubelet.plan import ContainerKind, Held, KillReason, Plan, Start
from pilothouse.kubelet.pod_state import PodState
from pilothouse.kubelet.prefetch import ImagePrefetch
from pilothouse.kubelet.restart import format_delay, is_sidecar
from pilothouse.kubelet.runtime.specs import Resources, SandboxSpec
from pilothouse.kubelet.seams import ConfigError, NotMounted
from pilothouse.kubelet.status import Verdict

log = get_logger("pilothouse.kubelet.sync")

_NETWORK_RETRY_S = 1.0
_VOLUMES_FRESH_S = 60.0


class PodSync:
    """Syncs one pod. `run` may be cancelled at any await; the next one goes on from what it finds."""

    def __init__(self, state: PodState, actuator: PodActuator, equipment: Equipment) -> None:
        self._state = state
        self._actuator = actuator
        self._e = equipment
        self._mounts_failed = False
        self._applied: dict[str, Resources] = {}

    async def run(self) -> None:
        """Sync until nothing is left to do or something must be waited for. Raises RuntimeFailure."""
        while True:
            await self._state.refresh()
            if self._check_end():
                return
            if self._e.host.network_problem and not self._state.pod.host_network:
                message = f"network is not ready: {self._e.host.network_problem}"
                self._e.tell(self._state.pod, "Warning", "NetworkNotReady", message)
                self._state.wake_within(_NETWORK_RETRY_S)
                return
            computed = plan.compute(
                plan.Situation(
                    self._state.pod,
                    self._state.record,
                    self._e.prober.result,
                    self._state.delays,
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

    def _check_end(self) -> bool:
        """Whether the pod is to be terminated: it has ended, or its deadline has passed."""
        if (limit := self._state.pod.spec.get("activeDeadlineSeconds")) is not None:
            left = meta.parse_time(self._state.status["startTime"]) + limit - self._e.clock.now()
            if left <= 0:
                message = "Pod was active on the node longer than the specified deadline"
                self._state.verdict = Verdict("DeadlineExceeded", message)
                self._e.tell(self._state.pod, "Normal", "DeadlineExceeded", message)
            else:
                self._state.wake_within(left)
        if self._state.report():
            self._state.ending = True
        return self._state.ending

    def _hold(self, held: Sequence[Held]) -> None:
        now = self._e.clock.now()
        for one in held:
            pod = self._state.pod
            full_name = f"{pod.name}_{pod.namespace}({pod.uid})"
            message = f"back-off {format_delay(one.delay_s)} restarting failed container={one.name} pod={full_name}"
            if self._state.waiting.get(one.name) != Waiting("CrashLoopBackOff", message):
                self._state.waiting[one.name] = Waiting("CrashLoopBackOff", message)
                kind = "initContainers" if one.kind is ContainerKind.INIT else "containers"
                text = f"Back-off restarting failed container {one.name} in pod {full_name}"
                self._e.tell(pod, "Warning", "BackOff", text, container=one.name, kind=kind)
                self._state.report()
            self._state.wake_within(one.until - now)

    async def _resize(self) -> bool:
        """Give running containers the resources that the pod has now (KEP-1287); whether one had to be killed for that."""
        killed = False
        for running in self._state.record.running:
            container, _ = find_container(self._state.pod, running.name)
            desired = self._e.cgroups.container_resources(self._state.object, container)
            # The score cannot change while a process runs, and what an earlier kubelet applied is not known.
            applied = self._applied.setdefault(running.id, desired)
            desired = replace(desired, oom_score_adj=applied.oom_score_adj)
            if desired == applied:
                continue
            self._e.cgroups.set_up(self._state.object)
            if _needs_restart(container, applied, desired):
                message = f"Container {running.name} resize requires restart"
                await self._actuator.kill(self._state.pod, running, message, KillReason.OTHER, self._state.ips)
                self._state.dirty = killed = True
                continue
            await self._e.runtime.update_resources(running.id, desired)
            self._applied[running.id] = desired
        return killed

    async def _freshen_volumes(self) -> None:
        now = self._e.clock.monotonic()
        if self._state.volumes_fresh_at is not None and now - self._state.volumes_fresh_at < _VOLUMES_FRESH_S:
            return
        self._state.volumes_fresh_at = now
        try:
            await self._e.volumes.set_up(self._state.object)
        except NotMounted as problem:
            log.warning("volumes not freshened", pod=self._state.pod.key, error=str(problem))
            self._state.wake_within(self._state.failures.next())

    async def _carry_out(self, computed: Plan) -> bool:
        """Whether to look at once for what comes next."""
        for reset in computed.resets:
            self._state.dirty = True
            await self._actuator.reset(self._state.pod, self._state.record, reset, self._state.ips)
        if computed.resets:
            return True
        if computed.stop_pod:
            await self._actuator.kill_all(self._state.pod, self._state.record, None, self._state.ips)
            self._state.dirty = True
            await self._actuator.stop_sandboxes(self._state.record)
            if not computed.create_sandbox:
                return True
        for kill in computed.kills:
            killed = next((c for c in self._state.record.containers if c.id == kill.container_id), None)
            if killed is not None:
                self._state.dirty = True
                await self._actuator.kill(self._state.pod, killed, kill.message, kill.reason, self._state.ips)
        await self._remove(computed.removals)
        for sandbox_id in computed.sandbox_removals:
            self._state.dirty = True
            await self._e.runtime.remove_sandbox(sandbox_id)
            self._e.owners.pop(sandbox_id, None)
        if computed.kills:
            await self._state.refresh()
        if not computed.starts and not computed.create_sandbox:
            return True
        cgroup_parent = self._e.cgroups.set_up(self._state.object)
        try:
            spec = await self._actuator.sandbox_spec(self._state.pod, computed.attempt, cgroup_parent)
            if self._state.pod.spec.get("runtimeClassName"):
                spec = replace(spec, runtime_handler=await self._actuator.runtime_handler(self._state.pod))
        except (ConfigError, SandboxFailure) as problem:
            return self._no_sandbox(str(problem))
        return await self._start(computed, spec)

    async def _remove(self, container_ids: Sequence[str]) -> None:
        for container_id in container_ids:
            self._state.dirty = True
            await self._actuator.remove_container(self._state.record, container_id)

    def _no_sandbox(self, problem: str) -> bool:
        self._e.tell(self._state.pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {problem}")
        self._state.retry_later()
        return False

    async def _start(self, computed: Plan, spec: SandboxSpec) -> bool:
        """Make the sandbox if need be, and start containers. Volumes and images are got while the sandbox is made."""
        images = ImagePrefetch(self._actuator, self._state.pod)
        sandbox_id = computed.sandbox_id
        if computed.create_sandbox and computed.sandbox_id:
            message = "Pod sandbox changed, it will be killed and re-created."
            self._e.tell(self._state.pod, "Normal", "SandboxChanged", message)
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
                    self._state.dirty = True
                    sandbox_id = await self._actuator.create_sandbox(self._state.pod, spec)
                    await self._state.refresh()
            mounted = mounting is None or mounting.result()
        except* SandboxFailure as failures:
            failure = SandboxFailure(str(leaf(failures)))
        if failure is not None:
            return self._no_sandbox(str(failure))
        self._mounts_failed = not mounted
        if not mounted:
            if computed.create_sandbox:
                # A pod that cannot start must not look as if it could.
                await self._actuator.stop_sandboxes(self._state.record)
                await self._actuator.remove_all(self._state.record)
                self._state.dirty = True
                await self._state.refresh()
            return False
        return await self._start_containers(computed.starts, sandbox_id, spec, images)

    async def _mount(self) -> bool:
        try:
            await self._e.volumes.set_up(self._state.object)
        except NotMounted as problem:
            self._e.tell(self._state.pod, "Warning", "FailedMount", str(problem))
            self._state.wake_within(self._state.failures.next())
            return False
        self._state.volumes_fresh_at = self._e.clock.monotonic()
        return True

    async def _start_containers(
        self, starts: Sequence[Start], sandbox_id: str, spec: SandboxSpec, images: ImagePrefetch
    ) -> bool:
        failed = False
        for start in starts:
            container, kind = find_container(self._state.pod, start.name)
            self._state.dirty = True
            if start.delay is not None:
                self._state.delays[start.name] = start.delay
            try:
                container_id = await self._actuator.start(
                    self._state.pod,
                    container,
                    kind,
                    self._state.record,
                    sandbox_id,
                    spec,
                    lambda start=start: images.get(start),  # type: ignore[misc]
                    self._state.ips,
                )
            except StartFailure as failure:
                failed = True
                self._state.waiting[start.name] = failure.waiting
                if failure.retry_at is None:
                    self._state.wake_within(self._state.failures.next())
                elif failure.waiting.reason == "ErrImagePull":
                    self._state.wake_within(1.0)
                else:
                    self._state.wake_within(failure.retry_at - self._e.clock.monotonic())
                if kind is ContainerKind.INIT and not is_sidecar(container):
                    break
                continue
            self._state.waiting.pop(start.name, None)
            self._applied[container_id] = self._e.cgroups.container_resources(self._state.object, container)
        if failed:
            await self._state.refresh()
            return False
        self._state.failures.reset()
        return True


def _needs_restart(container: Mapping[str, Any], applied: Resources, desired: Resources) -> bool:
    policies = {entry["resourceName"]: entry.get("restartPolicy") for entry in container.get("resizePolicy") or ()}
    changed = set()
    if (applied.cpu_shares, applied.cpu_quota) != (desired.cpu_shares, desired.cpu_quota):
        changed.add("cpu")
    if applied.memory_limit_bytes != desired.memory_limit_bytes:
        changed.add("memory")
    return any(policies.get(name) == "RestartContainer" for name in changed)
