"""What a pod's worker knows of its pod, and how it looks and reports. Nothing here acts on the pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.api.meta import UID, Object
from pilothouse.api.views.pod import PodView
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kubelet import status as pod_status
from pilothouse.kubelet.container_status import Waiting
from pilothouse.kubelet.equipment import Equipment
from pilothouse.kubelet.restart import Delay
from pilothouse.kubelet.runtime.records import PodRecord
from pilothouse.kubelet.status import Verdict
from pilothouse.kubelet.termination_message import with_messages

_RETRY = BackoffPolicy(0.5, 10.0, jitter=0.1)


class PodState:
    """The state of one pod's worker. Owned by the worker; its stages change it one after another."""

    def __init__(self, pod: Object, equipment: Equipment) -> None:
        self.pod = PodView(pod)
        self.uid: UID = self.pod.uid
        self.record = PodRecord(self.uid)
        self.status: Object = dict(self.pod.status)
        """The status that was computed last."""
        self.dirty = True
        """The runtime may have something new."""
        self.expected_exits: set[str] = set()
        """Containers that have ended by the runtime's events, though its lists may not say so yet."""
        self.waiting: dict[str, Waiting] = {}
        self.delays: dict[str, Delay] = {}
        self.verdict: Verdict | None = None
        self.ending = self.pod.is_deleting or self.pod.is_terminal
        """The pod is to be terminated."""
        self.finished = False
        """It has been."""
        self.removed = False
        """It is no longer in the API."""
        self.wake_at: float | None = None
        """When to look again though nothing happens (monotonic)."""
        self.volumes_fresh_at: float | None = None
        self.failures = Backoff(_RETRY, equipment.rng)
        self._e = equipment

    async def refresh(self) -> None:
        """Look at the runtime if something may have changed there, and report the status that follows. Raises RuntimeFailure."""
        if self.dirty or self.expected_exits:
            self.dirty = False
            try:
                record = await self._e.runtime.pod(self.uid, self.record)
            except BaseException:
                self.dirty = True
                raise
            self.record = with_messages(record, self.record)
            ids = [sandbox.id for sandbox in self.record.sandboxes] + [c.id for c in self.record.containers]
            self._e.owners.update(dict.fromkeys(ids, self.uid))
            running = {container.id for container in self.record.running}
            self.expected_exits &= running
        self._e.prober.observe(self.object, self.record, self.ips)
        self.report()

    @property
    def object(self) -> Any:
        return self.pod.obj

    @property
    def ips(self) -> Sequence[str]:
        return self._e.options.node_ips if self.pod.host_network else self.record.ips

    def compute_status(self) -> pod_status.Computed:
        return pod_status.compute(
            pod_status.Facts(
                pod=self.pod,
                record=self.record,
                previous=self.status,
                waiting=self.waiting,
                results=self._e.prober.result,
                host_ips=self._e.options.node_ips,
                runtime_name=self._e.host.runtime_name,
                now=self._e.clock.now(),
                verdict=self.verdict,
                is_finished=self.finished,
                may_run=bool(self.record.running),
            )
        )

    def report(self) -> bool:
        """Report the status; whether the pod has ended."""
        computed = self.compute_status()
        self.status = computed.status
        if not self.removed:
            self._e.reporter.report(self.object, computed.status)
        return computed.has_ended

    def retry_later(self) -> None:
        """Something failed: look again after a while that grows."""
        self.dirty = True
        self.wake_within(self.failures.next())

    def wake_within(self, seconds: float) -> None:
        at = self._e.clock.monotonic() + max(seconds, 0.0)
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
