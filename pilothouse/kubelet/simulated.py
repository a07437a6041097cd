"""A node without containers: a runtime that only remembers what it was told, and parts that have nothing to do.

The kubelet is the real one; what it asks of the runtime happens at once, and containers run until they are stopped, unless `Behaviour`
says that they end by themselves. State lives in memory: a node that starts again makes its pods' containers anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pilothouse.api.meta import UID, Object, annotations_of, controller_of
from pilothouse.api.views.pod import PodView
from pilothouse.kit.clock import Clock, Timer
from pilothouse.kubelet.runtime.failures import NotFoundInRuntime, RuntimeFailure
from pilothouse.kubelet.runtime.records import (
    ContainerRecord,
    ContainerState,
    ContainerUsage,
    ExecResult,
    FilesystemUsage,
    Image,
    PodRecord,
    RuntimeConditions,
    RuntimeEvent,
    RuntimeVersion,
    SandboxRecord,
)
from pilothouse.kubelet.runtime.runtime import Stream
from pilothouse.kubelet.runtime.specs import (
    ContainerSpec,
    Credentials,
    Device,
    Mount,
    NamespaceMode,
    Resources,
    SandboxSpec,
)
from pilothouse.kubelet.seams import ContainerObject, ProbeCount, ProbeKind, ProbeResult

LIFETIME_ANNOTATION = "pilothouse.dev/simulated-lifetime"
"""On a pod: after how many seconds its containers end with success."""
JOB_LIFETIME_S = 1.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How containers behave, by the pod that they belong to. `pod` gives a pod by UID."""

    pod: Callable[[UID], Object | None]

    def lifetime_s(self, uid: UID, container: str) -> float | None:
        """How long a container runs before it ends with success; None for one that runs until it is stopped.

        Init containers end at once, and those of Jobs soon: pods would otherwise never get further.
        """
        obj = self.pod(uid)
        if obj is None:
            return None
        for init in PodView(obj).init_containers:
            if init["name"] == container:
                return None if init.get("restartPolicy") == "Always" else 0.0
        if lifetime := annotations_of(obj).get(LIFETIME_ANNOTATION):
            try:
                return float(lifetime)
            except ValueError:
                return None
        owner = controller_of(obj)
        return JOB_LIFETIME_S if owner is not None and owner["kind"] == "Job" else None


class SimulatedRuntime:
    """A `Runtime` without containers."""

    def __init__(self, behaviour: Behaviour, clock: Clock, rng: random.Random) -> None:
        self._behaviour = behaviour
        self._clock = clock
        self._rng = rng
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._containers: dict[str, ContainerRecord] = {}
        self._uids: dict[str, UID] = {}
        self._timers: dict[str, Timer] = {}
        self._images: dict[str, Image] = {}
        self._free: list[str] = []
        self._listeners: list[asyncio.Queue[RuntimeEvent]] = []

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion("simulated", "1.0")

    async def conditions(self) -> RuntimeConditions:
        return RuntimeConditions(runtime_ready=True, network_ready=True)

    async def pods(self) -> Mapping[UID, PodRecord]:
        return {uid: self._record(uid) for uid in dict.fromkeys(self._uids.values())}

    async def pod(self, uid: UID, known: PodRecord | None = None) -> PodRecord:
        return self._record(uid)

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        id = self._new_id()
        on_host = spec.security.namespaces.network is NamespaceMode.NODE
        self._sandboxes[id] = SandboxRecord(
            id=id,
            pod_uid=spec.uid,
            pod_name=spec.name,
            pod_namespace=spec.namespace,
            attempt=spec.attempt,
            is_ready=True,
            created_at=self._clock.now(),
            ips=() if on_host else self._take_address(),
            host_network=on_host,
        )
        self._uids[id] = spec.uid
        return id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.is_ready:
            return
        for container in [c for c in self._containers.values() if c.sandbox_id == sandbox_id]:
            self._end(container.id, 137, "Error")
        self._free.extend(sandbox.ips)
        self._sandboxes[sandbox_id] = replace(sandbox, is_ready=False, ips=())
        self._announce(sandbox_id, "exit")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        for container in [c for c in self._containers.values() if c.sandbox_id == sandbox_id]:
            await self.remove_container(container.id)
        if self._sandboxes.pop(sandbox_id, None) is not None:
            del self._uids[sandbox_id]

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        if sandbox_id not in self._sandboxes:
            raise NotFoundInRuntime(f"no sandbox {sandbox_id}")
        id = self._new_id()
        image = self._images.get(spec.image)
        self._containers[id] = ContainerRecord(
            id=id,
            sandbox_id=sandbox_id,
            name=spec.name,
            attempt=spec.attempt,
            state=ContainerState.CREATED,
            created_at=self._clock.now(),
            pod_uid=sandbox.uid,
            image=spec.user_image or spec.image,
            image_ref=image.id if image else spec.image,
            image_id=image.id if image else spec.image,
            log_path=spec.log_path,
            annotations=spec.annotations,
            mounts={mount.container_path: mount.host_path for mount in spec.mounts},
        )
        self._uids[id] = sandbox.uid
        return id

    async def start_container(self, container_id: str) -> None:
        container = await self.container(container_id)
        self._containers[container_id] = replace(container, state=ContainerState.RUNNING, started_at=self._clock.now())
        self._announce(container_id, "start")
        lifetime_s = self._behaviour.lifetime_s(container.pod_uid, container.name)
        if lifetime_s is not None:
            self._timers[container_id] = self._clock.call_later(
                lifetime_s, lambda: self._end(container_id, 0, "Completed")
            )

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        self._end(container_id, 143, "Error")

    async def remove_container(self, container_id: str) -> None:
        self._end(container_id, 137, "Error")
        if self._containers.pop(container_id, None) is not None:
            del self._uids[container_id]

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        await self.container(container_id)

    async def container(self, container_id: str) -> ContainerRecord:
        try:
            return self._containers[container_id]
        except KeyError:
            raise NotFoundInRuntime(f"no container {container_id}") from None

    async def reopen_log(self, container_id: str) -> None:
        await self.container(container_id)

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        await self.container(container_id)
        return ExecResult(b"", b"", 0)

    async def stream_url(
        self,
        stream: Stream,
        target_id: str,
        *,
        command: Sequence[str] = (),
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        ports: Sequence[int] = (),
    ) -> str:
        raise RuntimeFailure(f"{stream.value} is not possible: this node is simulated and runs no containers")

    async def image(self, reference: str) -> Image | None:
        return self._images.get(reference)

    async def images(self) -> Sequence[Image]:
        return tuple(self._images.values())

    async def pull(self, reference: str, credentials: Credentials | None, sandbox: SandboxSpec | None) -> str:
        self._images[reference] = Image(id=f"sha256:{reference.encode().hex()[:64]:0<64}", tags=(reference,))
        return reference

    async def remove_image(self, reference: str) -> None:
        self._images.pop(reference, None)

    async def image_filesystem(self) -> FilesystemUsage | None:
        return None

    async def usage(self, pod_uid: UID | None = None) -> Sequence[ContainerUsage]:
        return ()

    async def set_pod_cidr(self, cidr: str) -> None:
        """Addresses of new pods come from this range on."""
        hosts = ipaddress.ip_network(cidr).hosts()
        next(hosts)
        used = {address for sandbox in self._sandboxes.values() for address in sandbox.ips}
        self._free = [str(address) for _, address in zip(range(1000), hosts, strict=False) if str(address) not in used]
        self._free.reverse()

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def crash(self, container_id: str, exit_code: int = 1) -> None:
        """End a container as if its process had."""
        self._end(container_id, exit_code, "Error" if exit_code else "Completed")

    def _end(self, container_id: str, exit_code: int, reason: str) -> None:
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        container = self._containers.get(container_id)
        if container is None or container.state is ContainerState.EXITED:
            return
        self._containers[container_id] = replace(
            container,
            state=ContainerState.EXITED,
            finished_at=self._clock.now(),
            exit_code=exit_code,
            reason=reason,
        )
        self._announce(container_id, "exit")

    def _announce(self, id: str, kind: str) -> None:
        event = RuntimeEvent(id, self._uids.get(id, UID("")), kind)
        for queue in self._listeners:
            queue.put_nowait(event)

    def _record(self, uid: UID) -> PodRecord:
        sandboxes = sorted(
            (s for s in self._sandboxes.values() if s.pod_uid == uid),
            key=lambda s: (s.created_at, s.attempt),
            reverse=True,
        )
        containers = sorted(
            (c for c in self._containers.values() if c.pod_uid == uid),
            key=lambda c: (c.created_at, c.attempt),
            reverse=True,
        )
        if not sandboxes:
            return PodRecord(uid, containers=tuple(containers))
        newest = sandboxes[0]
        return PodRecord(uid, newest.pod_name, newest.pod_namespace, tuple(sandboxes), tuple(containers))

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(256):064x}"

    def _take_address(self) -> tuple[str, ...]:
        if not self._free:
            raise RuntimeFailure("no address is left in the node's range")
        return (self._free.pop(),)


class NoVolumes:
    """Volumes of pods that have no containers to see them."""

    async def set_up(self, pod: Object) -> None:
        return

    def mounts(
        self, pod: Object, container: ContainerObject, environment: Mapping[str, str]
    ) -> tuple[Sequence[Mount], Sequence[Device]]:
        return (), ()

    async def tear_down(self, uid: UID) -> None:
        return

    def watch(self, wake: Callable[[UID], None]) -> None:
        return


class NoEnvironment:
    """The environment of containers that have no process."""

    async def variables(
        self, pod: Object, container: ContainerObject, pod_ips: Sequence[str], host_ips: Sequence[str]
    ) -> Sequence[tuple[str, str]]:
        return ()


class AlwaysHealthy:
    """A prober whose every probe succeeds."""

    def observe(self, pod: Object, record: PodRecord, ips: Sequence[str]) -> None:
        return

    def forget(self, uid: UID) -> None:
        return

    def stop_liveness(self, uid: UID) -> None:
        return

    def result(self, kind: ProbeKind, container_id: str) -> ProbeResult:
        return ProbeResult.SUCCESS

    def watch(self, wake: Callable[[UID], None]) -> None:
        return

    def totals(self) -> Mapping[ProbeCount, int]:
        return {}

    async def run(self) -> None:
        await asyncio.Event().wait()


class NoCgroups:
    """Cgroups of a node without processes."""

    def set_up(self, pod: Object) -> str:
        return ""

    def tear_down(self, uid: UID) -> None:
        return

    def processes(self, pod: Object) -> Sequence[int]:
        return ()

    def container_resources(self, pod: Object, container: ContainerObject) -> Resources:
        return Resources()

    def pod_resources(self, pod: Object) -> Resources:
        return Resources()
