"""When which container is probed, and what the probes say.

Each probe of each running container has a task of its own, which ends with the container. A result settles when it has come
`failureThreshold` or `successThreshold` times in a row. A startup probe holds back the others until it succeeds.
Source: `pkg/kubelet/prober`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.gvr import PODS
from pilothouse.api.meta import UID, Object
from pilothouse.api.views.pod import PodView
from pilothouse.client.events import EventRecorder
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.probes.actions import Outcome, ProbeErrored, Target, run_probe
from pilothouse.kubelet.runtime.records import ContainerRecord, PodRecord
from pilothouse.kubelet.runtime.runtime import Runtime
from pilothouse.kubelet.seams import ProbeCount, ProbeKind, ProbeResult

log = get_logger("pilothouse.kubelet.prober")

FIELDS = {
    ProbeKind.STARTUP: "startupProbe",
    ProbeKind.LIVENESS: "livenessProbe",
    ProbeKind.READINESS: "readinessProbe",
}


@dataclass(slots=True)
class _Probing:
    """One probe of one container, under way."""

    uid: UID
    kind: ProbeKind
    container_id: str
    task: asyncio.Task[None]


class PodProber:
    """Probes the containers of a node's pods."""

    def __init__(self, runtime: Runtime, recorder: EventRecorder, clock: Clock, rng: random.Random) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._clock = clock
        self._rng = rng
        self._probing: dict[tuple[ProbeKind, str], _Probing] = {}
        self._results: dict[tuple[ProbeKind, str], ProbeResult] = {}
        self._started: dict[str, asyncio.Event] = {}
        self._pods: dict[UID, PodView] = {}
        self._wakers: list[Callable[[UID], None]] = []
        self._group: asyncio.TaskGroup | None = None
        self._totals: Counter[ProbeCount] = Counter()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None
                for probing in self._probing.values():
                    probing.task.cancel()

    def watch(self, wake: Callable[[UID], None]) -> None:
        self._wakers.append(wake)

    def result(self, kind: ProbeKind, container_id: str) -> ProbeResult:
        return self._results.get((kind, container_id), ProbeResult.UNKNOWN)

    def observe(self, pod: Object, record: PodRecord, ips: Sequence[str]) -> None:
        view = PodView(pod)
        self._pods[view.uid] = view
        running = {container.id: container for container in record.containers if container.is_running}
        for key, probing in list(self._probing.items()):
            if probing.uid == view.uid and probing.container_id not in running:
                self._stop(key, forget=True)
        if self._group is None or view.is_deleting:
            return
        for container in (*view.init_containers, *view.containers):
            current = record.container(container["name"])
            if current is None or current.id not in running:
                continue
            for kind, field in FIELDS.items():
                if container.get(field) and (kind, current.id) not in self._probing:
                    self._start(view.uid, kind, container, current, ips[0] if ips else "")

    def totals(self) -> Mapping[ProbeCount, int]:
        return self._totals

    def forget(self, uid: UID) -> None:
        self._pods.pop(uid, None)
        for count in [count for count in self._totals if count.uid == uid]:
            del self._totals[count]
        for key, probing in list(self._probing.items()):
            if probing.uid == uid:
                self._stop(key, forget=True)

    def stop_liveness(self, uid: UID) -> None:
        for key, probing in list(self._probing.items()):
            if probing.uid == uid and probing.kind is not ProbeKind.READINESS:
                self._stop(key, forget=False)
                self._results[key] = ProbeResult.SUCCESS

    def _start(self, uid: UID, kind: ProbeKind, container: Mapping[str, Any], record: ContainerRecord, ip: str) -> None:
        assert self._group is not None
        started = self._started.setdefault(record.id, asyncio.Event())
        if not container.get(FIELDS[ProbeKind.STARTUP]):
            started.set()
        target = Target(container, record.id, ip)
        task = self._group.create_task(
            self._probe(uid, kind, target, record.started_at), name=f"{kind.value} probe of {container['name']}"
        )
        self._probing[(kind, record.id)] = _Probing(uid, kind, record.id, task)

    def _stop(self, key: tuple[ProbeKind, str], *, forget: bool) -> None:
        probing = self._probing.pop(key)
        probing.task.cancel()
        if forget:
            self._results.pop(key, None)
            self._started.pop(probing.container_id, None)

    async def _probe(self, uid: UID, kind: ProbeKind, target: Target, started_at: float) -> None:
        probe = target.container[FIELDS[kind]]
        started = self._started[target.container_id]
        delay_s = started_at + float(probe.get("initialDelaySeconds") or 0) - self._clock.now()
        if delay_s > 0:
            await self._clock.sleep(delay_s)
        if kind is not ProbeKind.STARTUP:
            await started.wait()
        run = 0
        last: bool | None = None
        while True:
            outcome = await self._once(uid, kind, target, probe)
            if outcome is not None:
                run = run + 1 if outcome.success is last else 1
                last = outcome.success
                threshold = probe.get("successThreshold" if outcome.success else "failureThreshold")
                if run >= int(threshold or (1 if outcome.success else 3)):
                    self._settle(uid, kind, target, outcome)
                    if kind is ProbeKind.STARTUP or (kind is ProbeKind.LIVENESS and not outcome.success):
                        return
            await self._clock.sleep(float(probe.get("periodSeconds") or 10))

    async def _once(self, uid: UID, kind: ProbeKind, target: Target, probe: Mapping[str, Any]) -> Outcome | None:
        """One probe, its failure told; None if it could not be carried out."""
        title = kind.value.capitalize()
        try:
            outcome = await run_probe(probe, target, self._runtime)
        except ProbeErrored as error:
            self._count(uid, kind, target, "unknown")
            self._tell(uid, target, f"{title} probe errored and resulted in unknown state: {error}")
            return None
        except Exception:
            log.exception("a probe broke", pod=uid, container=target.container["name"], probe=kind.value)
            return None
        self._count(uid, kind, target, "successful" if outcome.success else "failed")
        if not outcome.success:
            self._tell(uid, target, f"{title} probe failed: {outcome.output}")
        return outcome

    def _count(self, uid: UID, kind: ProbeKind, target: Target, result: str) -> None:
        if uid in self._pods:
            self._totals[ProbeCount(uid, target.container["name"], kind, result)] += 1

    def _settle(self, uid: UID, kind: ProbeKind, target: Target, outcome: Outcome) -> None:
        key = (kind, target.container_id)
        result = ProbeResult.SUCCESS if outcome.success else ProbeResult.FAILURE
        if kind is ProbeKind.STARTUP and outcome.success:
            self._started[target.container_id].set()
        if self._results.get(key) is not result:
            self._results[key] = result
            for wake in self._wakers:
                wake(uid)

    def _tell(self, uid: UID, target: Target, message: str) -> None:
        pod = self._pods.get(uid)
        if pod is None:
            return
        name = target.container["name"]
        is_init = any(container["name"] == name for container in pod.init_containers)
        field_path = f"spec.{'initContainers' if is_init else 'containers'}{{{name}}}"
        self._recorder.event(pod.obj, PODS, "Warning", "Unhealthy", message, field_path=field_path)
