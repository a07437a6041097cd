"""Deletes finished Jobs whose `ttlSecondsAfterFinished` has passed. Source: upstream `pkg/controller/ttlafterfinished`, KEP-592."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import JOBS
from pilothouse.api.meta import Object
from pilothouse.api.views.job import JobView
from pilothouse.client.client import Propagation
from pilothouse.controllers.runtime import Context, Controller


def left_s(job: Mapping[str, Any], now: float) -> float | None:
    """The seconds until the Job is to go; None if it is to stay, or goes already."""
    view = JobView(job)
    finished = view.finished
    if view.ttl_s is None or finished is None or view.is_deleting:
        return None
    return meta.parse_time(finished["lastTransitionTime"]) + view.ttl_s - now


class TTLAfterFinishedController(Controller):
    """The control loop."""

    name = "ttl-after-finished-controller"
    account = "ttl-after-finished-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = context.informers.of(JOBS)
        self.follow(self._jobs, self._changed)

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.get(key)
        if job is None:
            return None
        wait_s = left_s(job, self.clock.now())
        if wait_s is None or wait_s > 0:
            return wait_s
        namespace, name = meta.split_key(key)
        try:
            # The time may have been changed a moment ago.
            fresh = await self.client.get(JOBS, namespace, name)
            wait_s = left_s(fresh, self.clock.now())
            if wait_s is None or wait_s > 0:
                return wait_s
            await self.client.delete(JOBS, namespace, name, uid=meta.uid_of(fresh), propagation=Propagation.FOREGROUND)
        except status.NotFound:
            return None
        return None

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and left_s(new, self.clock.now()) is not None:
            self.queue.add(meta.key_of(new))
