"""The kubelet: runs the pods that are bound to its node.

It watches pods with `spec.nodeName`, gives each UID a worker (`workers`), wakes workers on changes of the pod, of the runtime
(`lifecycle`), of probes and of volumes, and reports the node (`node_reporter`, `lease`). It takes no argv and reads no environment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pilothouse import KUBERNETES_VERSION
from pilothouse.api import meta
from pilothouse.api.gvr import NODES, PODS
from pilothouse.api.meta import UID, Object
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.equipment import Equipment, Host
from pilothouse.kubelet.hooks import Hooks
from pilothouse.kubelet.images import Images
from pilothouse.kubelet.lease import NodeLease
from pilothouse.kubelet.lifecycle import RuntimeWatch
from pilothouse.kubelet.log_rotation import LogRotation
from pilothouse.kubelet.machine import Machine
from pilothouse.kubelet.name_resolution import parse_resolv_conf
from pilothouse.kubelet.node_reporter import NodeReporter
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.reporter import StatusReporter
from pilothouse.kubelet.restart import CrashBackoff
from pilothouse.kubelet.runtime.records import ContainerRecord, PodRecord
from pilothouse.kubelet.runtime.runtime import Runtime
from pilothouse.kubelet.runtime.specs import Dns
from pilothouse.kubelet.seams import Cgroups, Environment, Files, NotMounted, Prober, Volumes
from pilothouse.kubelet.workers import Workers

log = get_logger("pilothouse.kubelet")

_HOUSEKEEPING_S = 120.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that the core works with."""

    runtime: Runtime
    volumes: Volumes
    environment: Environment
    prober: Prober
    cgroups: Cgroups
    files: Files


class Kubelet:
    """A node's agent. `informers` and `recorder` are its own: `run` runs them."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        parts: Parts,
        machine: Machine,
        recorder: EventRecorder,
        options: KubeletOptions,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random()
        backoff = CrashBackoff(options.crash_backoff_initial_s, options.crash_backoff_max_s)
        self.options = options
        self.parts = parts
        self.machine = machine
        self.host = Host(dns=_host_dns(options), network_problem="")
        self.recorder = recorder
        self._clock = clock
        self._informers = informers
        self._pods = informers.of(PODS, field_selector=f"spec.nodeName={options.node_name}")
        self._reporter = StatusReporter(client, clock, rng)
        self._workers = Workers(
            Equipment(
                options=options,
                clock=clock,
                rng=rng,
                client=client,
                runtime=parts.runtime,
                volumes=parts.volumes,
                environment=parts.environment,
                prober=parts.prober,
                cgroups=parts.cgroups,
                files=parts.files,
                images=Images(parts.runtime, client, clock, CrashBackoff(10.0, 300.0)),
                hooks=Hooks(parts.runtime, clock),
                reporter=self._reporter,
                recorder=self.recorder,
                host=self.host,
                node=lambda: self._node.node,
                backoff=backoff,
                sandbox_starts=asyncio.Semaphore(options.concurrent_sandbox_starts),
                owners={},
            )
        )
        self._node = NodeReporter(
            client, parts.runtime, self.recorder, options, machine, KUBERNETES_VERSION, self.host, clock, rng
        )
        informers.of(NODES, field_selector=f"metadata.name={options.node_name}").subscribe(self._node.on_node)
        self._lease = NodeLease(client, options.node_name, lambda: self._node.uid, options.lease_duration_s, clock, rng)
        self._watch = RuntimeWatch(parts.runtime, self._workers, options.relist_s, clock, rng)
        self._logs = LogRotation(parts.runtime, self._running_containers, options, clock)

    def pods(self) -> Sequence[Object]:
        """The pods that it runs, each with the status that this kubelet has computed last."""
        return self._workers.pods()

    def pod(self, namespace: str, name: str) -> Object | None:
        """One of `pods`."""
        known = self._pods.get(meta.join_key(namespace, name))
        worker = self._workers.get(meta.uid_of(known)) if known is not None else None
        return worker.reported if worker is not None else None

    def record(self, uid: UID) -> PodRecord | None:
        """What the runtime had of a pod when its worker last looked."""
        worker = self._workers.get(uid)
        return worker.record if worker is not None else None

    def watch_pods(self, handler: Callable[[Object | None, Object | None], None]) -> None:
        """Call `handler` with the old and the new form of every pod that changes in the API, and with those that are there."""
        self._pods.subscribe(handler)

    @property
    def relisted_at(self) -> float | None:
        """When the runtime has last told everything, by the clock's monotonic time: this is what keeps pods in step."""
        return self._watch.relisted_at

    async def run(self) -> None:
        """Register the node and run its pods until cancelled. Containers keep running afterwards."""
        async with asyncio.TaskGroup() as group:
            for run in (
                self._informers.run,
                self.recorder.run,
                self._reporter.run,
                self.parts.prober.run,
                self._node.run,
                self._run_lease,
                self._run_pods,
                self._logs.run,
            ):
                group.create_task(run(), name=run.__qualname__)

    async def _run_lease(self) -> None:
        await self._node.registered.wait()
        await self._lease.run()

    async def _run_pods(self) -> None:
        """The order matters: what the API has must be known before anything counts as left over."""
        await self._node.registered.wait()
        await self._pods.synced.wait()
        async with asyncio.TaskGroup() as group:
            self._pods.subscribe(self._workers.on_pod)
            group.create_task(self._workers.run())
            group.create_task(self._watch.run())
            group.create_task(self._housekeeping())

    async def _housekeeping(self) -> None:
        """Remove the directories of pods that are neither in the API nor in the runtime: an earlier kubelet left them."""
        while True:
            await self._clock.sleep(_HOUSEKEEPING_S)
            for uid in self.parts.files.left_over():
                if self._workers.get(uid) is not None:
                    continue
                try:
                    await self.parts.volumes.tear_down(uid)
                except NotMounted as problem:
                    log.warning("left-over volumes not torn down", uid=uid, error=str(problem))
                    continue
                self.parts.cgroups.tear_down(uid)
                self.parts.files.remove_pod(uid, "", "")

    def _running_containers(self) -> Iterator[ContainerRecord]:
        for pod in self._workers.pods():
            record = self.record(meta.uid_of(pod))
            if record is not None:
                yield from record.running


def _host_dns(options: KubeletOptions) -> Dns:
    try:
        return parse_resolv_conf(options.resolv_conf.read_text())
    except OSError:
        return Dns()
