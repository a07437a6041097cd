"""The workers of a node's pods: one for each UID, told of whatever concerns it.

Pods come from the API, events and relists from the runtime. What the runtime runs for a pod that the API no longer has is ended,
too. A UID whose worker has come to its end gets no other one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from pilothouse.api import meta
from pilothouse.api.meta import UID, Object
from pilothouse.api.views.node import NodeView
from pilothouse.api.views.pod import PodView
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.admission import rejection
from pilothouse.kubelet.equipment import Equipment
from pilothouse.kubelet.runtime.records import PodRecord, RuntimeEvent
from pilothouse.kubelet.status import Verdict
from pilothouse.kubelet.worker import PodWorker, Stage, orphan_pod

log = get_logger("pilothouse.kubelet.workers")


class Workers:
    """All workers of one node."""

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self._workers: dict[UID, PodWorker] = {}
        self._in_api: set[UID] = set()
        self._starting: asyncio.Queue[PodWorker] = asyncio.Queue()
        equipment.prober.watch(self._wake)
        equipment.volumes.watch(self._freshen)

    def pods(self) -> Sequence[Object]:
        """The pods of the API on this node, each with the status that was computed last."""
        return [worker.reported for uid, worker in self._workers.items() if uid in self._in_api]

    def get(self, uid: UID) -> PodWorker | None:
        return self._workers.get(uid)

    def on_pod(self, old: Object | None, new: Object | None) -> None:
        """Handles the informer's changes."""
        if old is not None and (new is None or meta.uid_of(new) != meta.uid_of(old)):
            self._removed(meta.uid_of(old))
        if new is None:
            return
        uid = meta.uid_of(new)
        self._in_api.add(uid)
        worker = self._workers.get(uid)
        if worker is None:
            refused = self._rejection(new)
            worker = self._add(new)
            if refused is not None:
                self._equipment.tell(worker.pod, "Warning", refused.reason, refused.message)
                worker.fail(Verdict(refused.reason, f"Pod was rejected: {refused.message}"))
        else:
            worker.update(new)

    def on_event(self, event: RuntimeEvent) -> None:
        """Handles an event of the runtime."""
        if event.kind in ("create", "start"):
            # Only this kubelet makes and starts what runs for pods, and looks when it has.
            return
        uid = event.pod_uid or self._equipment.owners.get(event.container_id)
        worker = self._workers.get(uid) if uid else None
        if worker is not None:
            worker.notice(event.container_id if event.kind == "exit" else "")

    def on_relist(self, pods: Mapping[UID, PodRecord]) -> None:
        """Compare all that the runtime has with what the workers know; both ways. The pods of the API must be known."""
        for uid, record in pods.items():
            worker = self._workers.get(uid)
            if worker is None:
                log.info("ends what runs of a pod that is gone", pod=f"{record.namespace}/{record.name}", uid=uid)
                self._add(orphan_pod(record)).removed()
            elif _outline(record) != _outline(worker.record):
                worker.notice()
        for uid, worker in self._workers.items():
            if uid not in pods and (worker.record.sandboxes or worker.record.containers):
                worker.notice()

    def notice_all(self) -> None:
        """Have every worker look at the runtime: events may have been missed."""
        for worker in self._workers.values():
            worker.notice()

    async def run(self) -> None:
        """Run the workers until cancelled. What they run keeps running."""
        async with asyncio.TaskGroup() as group:
            while True:
                worker = await self._starting.get()
                group.create_task(self._live(worker), name=f"pod {worker.pod.key}")

    async def _live(self, worker: PodWorker) -> None:
        await worker.run()
        if worker.uid not in self._in_api:
            self._workers.pop(worker.uid, None)

    def _rejection(self, obj: Object) -> Verdict | None:
        """Why a new pod may not run here; a pod that was started before may go on."""
        pod, node = PodView(obj), self._equipment.node()
        if node is None or pod.is_deleting or pod.is_terminal or pod.status.get("startTime"):
            return None
        others = [worker.pod for worker in self._workers.values() if worker.is_active]
        return rejection(pod, others, NodeView(node), self._equipment.options.allowed_unsafe_sysctls)

    def _add(self, pod: Object) -> PodWorker:
        worker = PodWorker(pod, self._equipment)
        self._workers[worker.uid] = worker
        self._starting.put_nowait(worker)
        return worker

    def _removed(self, uid: UID) -> None:
        self._in_api.discard(uid)
        worker = self._workers.get(uid)
        if worker is None:
            return
        worker.removed()
        if worker.stage is Stage.GONE:
            del self._workers[uid]

    def _wake(self, uid: UID) -> None:
        if (worker := self._workers.get(uid)) is not None:
            worker.wake()

    def _freshen(self, uid: UID) -> None:
        if (worker := self._workers.get(uid)) is not None:
            worker.freshen()


def _outline(record: PodRecord) -> tuple[set[tuple[str, bool]], set[tuple[str, object]]]:
    sandboxes = {(sandbox.id, sandbox.is_ready) for sandbox in record.sandboxes}
    return sandboxes, {(container.id, container.state) for container in record.containers}
