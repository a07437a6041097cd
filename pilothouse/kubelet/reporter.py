"""Writes the statuses of pods to the API: at once, only what differs, one request at a time for each pod.

`report` returns without waiting, so that work on the pod goes on while its status travels; what is reported meanwhile replaces what
was not sent yet. `settled` waits for the last report of a pod.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import PODS
from pilothouse.api.meta import UID, Object
from pilothouse.client.client import Client, PatchType
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.status import changes

log = get_logger("pilothouse.kubelet.status")

_RETRY = BackoffPolicy(0.1, 10.0, jitter=0.2)


@dataclass(slots=True)
class _Report:
    pod: Object
    """The pod with the status that the API showed when it was last seen."""
    wanted: Object
    refused: Object | None = None
    """The patch that the API took without effect: sending it again would have none either."""
    busy: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class StatusReporter:
    """Reports the statuses of a node's pods."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._reports: dict[UID, _Report] = {}
        self._ready: asyncio.Queue[UID] = asyncio.Queue()

    def report(self, pod: Object, wanted: Object) -> None:
        """Have the API show `wanted` as the status of `pod`, which is the pod as it was last seen."""
        uid = meta.uid_of(pod)
        report = self._reports.get(uid)
        if report is None:
            report = self._reports[uid] = _Report(pod, wanted)
        else:
            report.pod = _newer(report.pod, pod)
            report.wanted = wanted
        patch = {} if report.busy else changes(report.pod.get("status") or {}, wanted)
        if patch and patch != report.refused:
            report.busy = True
            report.settled.clear()
            self._ready.put_nowait(uid)
        elif not report.busy:
            report.settled.set()

    def wanted(self, uid: UID) -> Mapping[str, Any] | None:
        """The status that was last reported."""
        report = self._reports.get(uid)
        return report.wanted if report is not None else None

    async def settled(self, uid: UID) -> None:
        """Return when the API shows what was last reported, or the pod is gone."""
        if (report := self._reports.get(uid)) is not None:
            await report.settled.wait()

    def forget(self, uid: UID) -> None:
        """Send nothing more for this pod."""
        if (report := self._reports.pop(uid, None)) is not None:
            report.settled.set()

    async def run(self) -> None:
        """Send reports until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                uid = await self._ready.get()
                group.create_task(self._send(uid), name=f"status of {uid}")

    async def _send(self, uid: UID) -> None:
        backoff = Backoff(_RETRY, self._rng)
        while (report := self._reports.get(uid)) is not None:
            patch = changes(report.pod.get("status") or {}, report.wanted)
            if not patch:
                report.busy = False
                report.settled.set()
                return
            namespace, name = meta.namespace_of(report.pod), meta.name_of(report.pod)
            try:
                answer = await self._client.patch(
                    PODS,
                    namespace,
                    name,
                    {"metadata": {"uid": uid}, "status": patch},
                    type=PatchType.STRATEGIC,
                    subresource="status",
                )
            except (status.NotFound, status.Conflict):
                # The pod is gone, or its name belongs to another one now.
                self.forget(uid)
                return
            except status.StatusError as error:
                log.warning("status not written", pod=f"{namespace}/{name}", error=error.message)
                if error.status_code in (400, 403, 422):
                    # The same request fails again; the next report may not.
                    report.busy = False
                    report.settled.set()
                    return
                await self._clock.sleep(backoff.next())
                continue
            report.pod = _newer(report.pod, answer)
            if changes(answer.get("status") or {}, report.wanted) == patch:
                log.error(
                    "the API keeps another status than was written", pod=f"{namespace}/{name}", fields=list(patch)
                )
                report.refused = patch
                report.busy = False
                report.settled.set()
                return


def _newer(one: Object, other: Object) -> Object:
    return one if _revision(one) > _revision(other) else other


def _revision(obj: Object) -> int:
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0
