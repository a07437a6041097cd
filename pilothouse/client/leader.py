"""Electing one leader among several candidates, by holding a Lease.

Who holds the Lease leads until it has not been renewed for its duration, measured by each observer's own clock from when it last saw
the Lease change, so clocks need not agree. A leader that cannot renew within the deadline stops before others may start. Timings and
record are those of client-go `tools/leaderelection`: 15 s duration, 10 s deadline, 2 s between attempts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import LEASES
from pilothouse.api.meta import Object, format_micro_time
from pilothouse.client.client import Client
from pilothouse.client.events import NORMAL, EventRecorder
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

ACQUIRE_JITTER = 1.2
RELEASE_TIMEOUT_S = 5.0

log = get_logger("pilothouse.client.leader")


class LeadershipLost(Exception):
    """The Lease could not be renewed in time; what this process did as the leader has been cancelled."""


@dataclass(frozen=True, slots=True)
class Election:
    """What is stood for, by whom, at what pace. `name` in `namespace` is the Lease; `identity` is unique among candidates."""

    name: str
    identity: str
    namespace: str = "kube-system"
    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_period_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration_s > self.renew_deadline_s:
            raise ValueError("a lease must last longer than its renewal may take")
        if not self.renew_deadline_s > self.retry_period_s * ACQUIRE_JITTER:
            raise ValueError("a renewal must have time for more than one attempt")


class LeaderElector:
    """A candidate."""

    def __init__(
        self,
        client: Client,
        election: Election,
        clock: Clock,
        *,
        rng: random.Random | None = None,
        events: EventRecorder | None = None,
    ) -> None:
        self.election = election
        self._client = client
        self._clock = clock
        self._rng = rng or random.Random()
        self._events = events
        self._lease: Object | None = None
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = 0.0

    @property
    def leader(self) -> str:
        """The identity of the leader last seen; empty if there is none."""
        return str(_spec(self._lease).get("holderIdentity") or "")

    @property
    def is_leader(self) -> bool:
        return self.leader == self.election.identity

    async def run(self, lead: Callable[[], Awaitable[object]]) -> None:
        """Wait to be elected, then run `lead` for as long as that lasts; returns when `lead` does.

        Raises LeadershipLost when the Lease is lost. The Lease is given up at the end and on cancellation.
        """
        await self._acquire()
        log.info("leading", lease=self.election.name)
        self._record("became leader")
        lost = False
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                leading = group.create_task(_call(lead))
                leading.add_done_callback(lambda _: renewing.cancel())
        except* LeadershipLost:
            lost = True
        finally:
            self._record("stopped leading")
            if not lost:
                await self._release()
        if lost:
            raise LeadershipLost(f"could not renew lease {self.election.namespace}/{self.election.name} in time")

    async def _acquire(self) -> None:
        while not await self._try():
            await self._clock.sleep(self.election.retry_period_s * (1 + ACQUIRE_JITTER * self._rng.random()))

    async def _renew(self) -> None:
        renewed_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(self.election.retry_period_s)
            left_s = renewed_at + self.election.renew_deadline_s - self._clock.monotonic()
            if await self._within(left_s):
                renewed_at = self._clock.monotonic()
            elif self._clock.monotonic() - renewed_at >= self.election.renew_deadline_s:
                raise LeadershipLost

    async def _within(self, limit_s: float) -> bool:
        """One attempt to renew, abandoned after `limit_s`."""
        attempt = asyncio.ensure_future(self._try())
        timer = self._clock.call_later(max(limit_s, 0), lambda: _cancel(attempt))
        try:
            return await attempt
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                attempt.cancel()
                raise
            return False
        finally:
            timer.cancel()

    async def _try(self) -> bool:
        """Take or renew the Lease if that may be done; whether it is held afterwards."""
        election = self.election
        try:
            if self._lease is not None and self.is_leader:
                try:
                    self._observe(await self._client.update(LEASES, self._held(self._lease)))
                    return True
                except status.Conflict:
                    pass
            try:
                lease = await self._client.get(LEASES, election.namespace, election.name)
            except status.NotFound:
                self._observe(await self._client.create(LEASES, self._held(None)))
                return True
            self._observe(lease)
            if not self.is_leader and self.leader and not self._is_expired(lease):
                return False
            self._observe(await self._client.update(LEASES, self._held(lease)))
            return True
        except (status.Conflict, status.AlreadyExists):
            return False
        except status.StatusError as error:
            log.warning("cannot hold the lease", lease=election.name, reason=error.message)
            return False

    def _held(self, lease: Object | None) -> Object:
        """The Lease as held by this candidate from now on."""
        now = format_micro_time(self._clock.now())
        spec = _spec(lease)
        is_mine = spec.get("holderIdentity") == self.election.identity
        transitions = spec.get("leaseTransitions") or 0
        metadata = lease["metadata"] if lease else {"name": self.election.name, "namespace": self.election.namespace}
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                **spec,
                "holderIdentity": self.election.identity,
                "leaseDurationSeconds": int(self.election.duration_s),
                "acquireTime": spec.get("acquireTime", now) if is_mine else now,
                "renewTime": now,
                "leaseTransitions": transitions if is_mine or lease is None else transitions + 1,
            },
        }

    def _observe(self, lease: Object) -> None:
        self._lease = lease
        spec = _spec(lease)
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock.monotonic()

    def _is_expired(self, lease: Object) -> bool:
        duration_s = float(_spec(lease).get("leaseDurationSeconds") or 0)
        return self._clock.monotonic() >= self._seen_at + duration_s

    async def _release(self) -> None:
        if not self.is_leader or self._lease is None:
            return
        now = format_micro_time(self._clock.now())
        spec = {
            **_spec(self._lease),
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": now,
            "acquireTime": now,
        }
        try:
            update = self._client.update(LEASES, {**self._lease, "spec": spec})
            self._lease = await asyncio.shield(asyncio.wait_for(update, RELEASE_TIMEOUT_S))
        except (status.StatusError, TimeoutError) as error:
            log.info("the lease was not given up; it expires by itself", lease=self.election.name, reason=str(error))

    def _record(self, what: str) -> None:
        if self._events is not None and self._lease is not None:
            self._events.event(self._lease, LEASES, NORMAL, "LeaderElection", f"{self.election.identity} {what}")


def _spec(lease: Object | None) -> Object:
    spec: Object = (lease or {}).get("spec") or {}
    return spec


def _cancel(attempt: asyncio.Future[bool]) -> None:
    attempt.cancel()


async def _call(lead: Callable[[], Awaitable[object]]) -> None:
    await lead()
