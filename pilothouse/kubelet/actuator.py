"""Carries out what a plan says for one pod: makes sandboxes, starts containers, ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import RUNTIME_CLASSES
from pilothouse.api.views.pod import PodView
from pilothouse.kit.log import get_logger
from pilothouse.kubelet import specs
from pilothouse.kubelet.container_status import Waiting
from pilothouse.kubelet.equipment import Equipment
from pilothouse.kubelet.hooks import HookFailure
from pilothouse.kubelet.images import ImageFailure, Tell
from pilothouse.kubelet.plan import ContainerKind, Kill, KillReason, termination_order
from pilothouse.kubelet.runtime.failures import NotFoundInRuntime, RuntimeFailure
from pilothouse.kubelet.runtime.records import ContainerRecord, Image, PodRecord
from pilothouse.kubelet.runtime.specs import SandboxSpec
from pilothouse.kubelet.seams import ConfigError

log = get_logger("pilothouse.kubelet.actuator")

MINIMUM_GRACE_S = 2
DEFAULT_GRACE_S = 30
_FIELDS = {
    ContainerKind.MAIN: "containers",
    ContainerKind.INIT: "initContainers",
    ContainerKind.EPHEMERAL: "ephemeralContainers",
}


class SandboxFailure(Exception):
    """A sandbox could not be made; the text says why."""


class StartFailure(Exception):
    """A container could not be started. `waiting` is what its status is to say, `retry_at` (monotonic) when to try again."""

    def __init__(self, waiting: Waiting, retry_at: float | None = None) -> None:
        super().__init__(waiting.message)
        self.waiting = waiting
        self.retry_at = retry_at


class PodActuator:
    """Acts for one pod. Its methods may be cancelled at any await; what was begun is found again by looking at the runtime."""

    def __init__(self, equipment: Equipment) -> None:
        self._e = equipment

    # Sandboxes

    async def sandbox_spec(self, pod: PodView, attempt: int, cgroup_parent: str) -> SandboxSpec:
        """Raises ConfigError."""
        obj: Any = pod.obj
        return specs.sandbox_spec(
            pod,
            attempt,
            self._e.options,
            self._e.host.dns,
            cgroup_parent,
            self._e.cgroups.pod_resources(obj),
        )

    async def create_sandbox(self, pod: PodView, spec: SandboxSpec) -> str:
        """The ID of a new sandbox. Raises SandboxFailure."""
        self._e.files.prepare_pod(pod)
        try:
            async with self._e.sandbox_starts:
                sandbox_id = await self._e.runtime.run_sandbox(spec)
        except RuntimeFailure as error:
            raise SandboxFailure(str(error)) from None
        self._e.owners[sandbox_id] = pod.uid
        return sandbox_id

    async def runtime_handler(self, pod: PodView) -> str:
        """The handler of the pod's RuntimeClass; empty for the runtime's default. Raises SandboxFailure."""
        name = pod.spec.get("runtimeClassName")
        if not name:
            return ""
        try:
            return str((await self._e.client.get(RUNTIME_CLASSES, "", name)).get("handler", ""))
        except status.StatusError as error:
            raise SandboxFailure(f'failed to get sandbox runtime: RuntimeClass "{name}": {error.message}') from None

    async def stop_sandboxes(self, record: PodRecord) -> None:
        """Raises RuntimeFailure."""
        async with asyncio.TaskGroup() as group:
            for sandbox in record.sandboxes:
                if sandbox.is_ready:
                    group.create_task(self._e.runtime.stop_sandbox(sandbox.id))

    async def remove_all(self, record: PodRecord) -> None:
        """Remove all that the runtime has of a pod that runs no more. Raises RuntimeFailure."""
        async with asyncio.TaskGroup() as group:
            for sandbox in record.sandboxes:
                group.create_task(self._e.runtime.remove_sandbox(sandbox.id))
        sandbox_ids = {sandbox.id for sandbox in record.sandboxes}
        for container in record.containers:
            if container.sandbox_id not in sandbox_ids:
                await self._e.runtime.remove_container(container.id)

    # Starting

    async def image(self, pod: PodView, container: Mapping[str, Any], kind: ContainerKind) -> Image:
        """Raises ImageFailure."""
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        return await self._e.images.ensure(pod, container["image"], policy, self._teller(pod, container, kind))

    async def start(
        self,
        pod: PodView,
        container: Mapping[str, Any],
        kind: ContainerKind,
        record: PodRecord,
        sandbox_id: str,
        sandbox: SandboxSpec,
        image: Callable[[], Any],
        ips: Sequence[str],
    ) -> str:
        """Create and start a container and run its postStart hook; its ID. `image` gives an awaitable Image. Raises StartFailure."""
        tell = self._teller(pod, container, kind)
        try:
            found: Image = await image()
        except ImageFailure as failure:
            tell("Warning", "Failed", f"Error: {failure.reason}")
            raise StartFailure(Waiting(failure.reason, failure.message), failure.retry_at) from None
        current = record.container(container["name"])
        count = (
            current.restart_count + 1 if current is not None else self._e.files.next_log_number(pod, container["name"])
        )
        try:
            spec = await self._container_spec(pod, container, record, found, count, ips)
        except ConfigError as error:
            tell("Warning", "Failed", f"Error: {error}")
            raise StartFailure(Waiting("CreateContainerConfigError", str(error))) from None
        try:
            container_id = await self._e.runtime.create_container(sandbox_id, spec, sandbox)
        except RuntimeFailure as error:
            text = _description(error)
            tell("Warning", "Failed", f"Error: {text}")
            raise StartFailure(Waiting("CreateContainerError", text)) from None
        self._e.owners[container_id] = pod.uid
        tell("Normal", "Created", "Container created")
        try:
            await self._e.runtime.start_container(container_id)
        except RuntimeFailure as error:
            text = _description(error)
            tell("Warning", "Failed", f"Error: {text}")
            raise StartFailure(Waiting("RunContainerError", text)) from None
        tell("Normal", "Started", "Container started")
        self._e.files.link_log(pod, container["name"], container_id, count)
        await self._post_start(pod, container, kind, container_id, ips)
        return container_id

    async def _container_spec(
        self,
        pod: PodView,
        container: Mapping[str, Any],
        record: PodRecord,
        image: Image,
        count: int,
        ips: Sequence[str],
    ) -> Any:
        options = self._e.options
        obj: Any = pod.obj
        environment = await self._e.environment.variables(obj, container, ips, options.node_ips)
        mounts, devices = self._e.volumes.mounts(obj, container, dict(environment))
        target_id = ""
        if target := container.get("targetContainerName"):
            running = record.container(target)
            if running is None or not running.is_running:
                raise ConfigError(f'unable to find target container "{target}"')
            target_id = running.id
        own = self._e.files.own_mounts(pod, container, ips, f"{self._e.rng.getrandbits(32):08x}")
        self._e.files.prepare_container(pod, container["name"])
        return specs.container_spec(
            pod,
            container,
            options,
            specs.Ingredients(
                image_ref=image.id,
                image=image,
                restart_count=count,
                environment=environment,
                mounts=(*mounts, *own),
                devices=devices,
                resources=self._e.cgroups.container_resources(obj, container),
                target_id=target_id,
            ),
        )

    async def _post_start(
        self,
        pod: PodView,
        container: Mapping[str, Any],
        kind: ContainerKind,
        container_id: str,
        ips: Sequence[str],
    ) -> None:
        handler = (container.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        try:
            await self._e.hooks.run(handler, pod, container, container_id, ips[0] if ips else "")
        except HookFailure as failure:
            log.warning("postStart hook failed", pod=pod.key, container=container["name"], error=str(failure))
            # What the hook printed stays out of the event: it may be secret.
            self._teller(pod, container, kind)("Warning", "FailedPostStartHook", "PostStartHook failed")
            await self._stop(pod, container, kind, container_id, "FailedPostStartHook", self._grace(pod, None), ips)
            raise StartFailure(Waiting("PostStartHookError", str(failure))) from None

    def _teller(self, pod: PodView, container: Mapping[str, Any], kind: ContainerKind) -> Tell:
        def tell(type: str, reason: str, message: str) -> None:
            self._e.tell(pod, type, reason, message, container=container["name"], kind=_FIELDS[kind])

        return tell

    # Ending

    async def kill(
        self, pod: PodView, record: ContainerRecord, message: str, reason: KillReason, ips: Sequence[str]
    ) -> None:
        """End one container of a pod that goes on. Raises RuntimeFailure."""
        container, kind = find_container(pod, record.name)
        grace_s = self._grace(pod, None)
        probe = {KillReason.LIVENESS: "livenessProbe", KillReason.STARTUP: "startupProbe"}.get(reason)
        if probe and pod.deletion_grace_period_s is None:
            own = (container.get(probe) or {}).get("terminationGracePeriodSeconds")
            grace_s = grace_s if own is None else int(own)
        await self._stop(pod, container, kind, record.id, message, grace_s, ips)

    async def reset(self, pod: PodView, record: PodRecord, reset: Kill, ips: Sequence[str]) -> None:
        """End one container at once and remove it; its logs stay. Raises RuntimeFailure."""
        running = next((container for container in record.running if container.id == reset.container_id), None)
        if running is not None:
            container, kind = find_container(pod, reset.name)
            await self._stop(pod, container, kind, running.id, reset.message, 0, ips)
        await self._e.runtime.remove_container(reset.container_id)
        self._e.owners.pop(reset.container_id, None)

    async def kill_all(
        self, pod: PodView, record: PodRecord, grace_s: int | None, ips: Sequence[str], *, quietly: bool = False
    ) -> None:
        """End all containers of a pod, sidecars after the others, within `grace_s` (the pod's own if None).

        `quietly` records no further events: the same was announced before. Raises RuntimeFailure.
        """
        running = {container.name: container for container in record.running}
        order = termination_order(pod, list(running))
        ended = {name: asyncio.Event() for name in running}
        grace = self._grace(pod, grace_s)

        async def end(name: str) -> None:
            container, kind = find_container(pod, name)
            try:
                await self._stop(
                    pod,
                    container,
                    kind,
                    running[name].id,
                    "" if quietly else f"Stopping container {name}",
                    grace,
                    ips,
                    [ended[other] for other in order[name]],
                )
            finally:
                ended[name].set()

        async with asyncio.TaskGroup() as group:
            for name in running:
                group.create_task(end(name))

    def _grace(self, pod: PodView, override_s: int | None) -> int:
        if override_s is not None:
            return override_s
        if pod.deletion_grace_period_s is not None:
            return pod.deletion_grace_period_s
        own = pod.spec.get("terminationGracePeriodSeconds")
        return DEFAULT_GRACE_S if own is None else int(own)

    async def _stop(
        self,
        pod: PodView,
        container: Mapping[str, Any],
        kind: ContainerKind,
        container_id: str,
        message: str,
        grace_s: int,
        ips: Sequence[str],
        after: Sequence[asyncio.Event] = (),
    ) -> None:
        tell = self._teller(pod, container, kind)
        if message:
            tell("Normal", "Killing", message)
        clock = self._e.clock
        begun = clock.monotonic()
        handler = (container.get("lifecycle") or {}).get("preStop")
        if handler and grace_s > 0:
            try:
                async with asyncio.timeout(None) as limit:
                    timer = clock.call_later(grace_s, lambda: _expire(limit))
                    try:
                        await self._e.hooks.run(handler, pod, container, container_id, ips[0] if ips else "")
                    finally:
                        timer.cancel()
            except TimeoutError:
                log.info("preStop hook not completed in grace period", pod=pod.key, container=container["name"])
            except HookFailure as failure:
                log.warning("preStop hook failed", pod=pod.key, container=container["name"], error=str(failure))
                tell("Warning", "FailedPreStopHook", "PreStopHook failed")
        if after and (left := grace_s - (clock.monotonic() - begun)) > 0:
            await self._all_set(after, left)
        left_s = max(MINIMUM_GRACE_S, int(grace_s - (clock.monotonic() - begun)))
        await self._e.runtime.stop_container(container_id, left_s)

    async def _all_set(self, events: Sequence[asyncio.Event], limit_s: float) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                timer = self._e.clock.call_later(limit_s, lambda: _expire(limit))
                try:
                    for event in events:
                        await event.wait()
                finally:
                    timer.cancel()
        except TimeoutError:
            return

    async def remove_container(self, record: PodRecord, container_id: str) -> None:
        """Remove an ended container and its log."""
        container = next((c for c in record.containers if c.id == container_id), None)
        try:
            await self._e.runtime.remove_container(container_id)
        except NotFoundInRuntime:
            pass
        except RuntimeFailure as error:
            log.warning("ended container not removed", container=container_id, error=str(error))
            return
        self._e.owners.pop(container_id, None)
        if container is not None:
            self._e.files.remove_log(container.log_path)


def _expire(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())


def find_container(pod: PodView, name: str) -> tuple[Mapping[str, Any], ContainerKind]:
    """A container of a pod's spec and its kind; one that the spec no longer has is a main container with only a name."""
    for kind, field in _FIELDS.items():
        for container in pod.spec.get(field) or ():
            if container["name"] == name:
                return container, kind
    return {"name": name}, ContainerKind.MAIN


def _description(error: RuntimeFailure) -> str:
    """The runtime's own words, without what gRPC puts before them."""
    return str(error).partition(" desc = ")[2] or str(error)
