"""Leader election: never two leaders, and no leader that cannot know it still is."""

from __future__ import annotations

import asyncio
import random

import pytest

from pilothouse.api import status
from pilothouse.api.gvr import LEASES
from pilothouse.client.client import Client
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.client.leader import Election, LeaderElector, LeadershipLost
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import Request, Response
from tests.controllers.cluster import api_server


class Partition:
    """An application that can be cut off."""

    def __init__(self, app: object) -> None:
        self._app = app
        self.is_cut = False

    async def __call__(self, request: Request) -> Response:
        if self.is_cut:
            raise status.ServiceUnavailable("cut off")
        response: Response = await self._app(request)  # type: ignore[operator]
        return response


class Candidate:
    def __init__(self, app: object, name: str, clock: VirtualClock) -> None:
        self.link = Partition(app)
        client = Client(InProcessTransport(self.link))
        self.leads = False
        self.lost = False
        election = Election("boss", name)
        self.elector = LeaderElector(client, election, clock, rng=random.Random(name))
        self.client = client

    async def _lead(self) -> None:
        self.leads = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leads = False

    async def run(self) -> None:
        try:
            await self.elector.run(self._lead)
        except LeadershipLost:
            self.lost = True


async def test_another_takes_over_only_after_the_first_has_stopped() -> None:
    async with api_server() as server:
        clock = server.clock
        one, other = Candidate(server.app, "one", clock), Candidate(server.app, "other", clock)
        tasks = [asyncio.create_task(one.run())]
        await clock.advance(1)
        tasks.append(asyncio.create_task(other.run()))
        await clock.advance(30)
        assert (one.leads, other.leads) == (True, False)
        one.link.is_cut = True
        for _ in range(60):
            await clock.advance(0.5)
            assert not (one.leads and other.leads)
        assert one.lost
        assert other.leads
        lease = await other.client.get(LEASES, "kube-system", "boss")
        assert lease["spec"]["holderIdentity"] == "other"
        assert lease["spec"]["leaseTransitions"] == 1
        assert lease["spec"]["leaseDurationSeconds"] == 15
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_is_cancelled_gives_the_lease_up_at_once() -> None:
    async with api_server() as server:
        clock = server.clock
        one, other = Candidate(server.app, "one", clock), Candidate(server.app, "other", clock)
        first = asyncio.create_task(one.run())
        await clock.advance(1)
        second = asyncio.create_task(other.run())
        await clock.advance(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert not one.leads
        await clock.advance(5)
        assert other.leads
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        lease = await other.client.get(LEASES, "kube-system", "boss")
        assert lease["spec"]["holderIdentity"] == ""


async def test_a_request_that_hangs_costs_the_leadership_in_time() -> None:
    async with api_server() as server:
        clock = server.clock
        hang = asyncio.Event()

        async def app(request: Request) -> Response:
            if hang.is_set():
                await asyncio.Event().wait()
            return await server.app(request)

        one = Candidate(app, "one", clock)
        task = asyncio.create_task(one.run())
        await clock.advance(5)
        assert one.leads
        hang.set()
        await clock.advance(13)
        assert not one.leads
        assert one.lost
        await task


def test_timings_that_could_give_two_leaders_are_refused() -> None:
    with pytest.raises(ValueError):
        Election("boss", "one", duration_s=10, renew_deadline_s=10)
    with pytest.raises(ValueError):
        Election("boss", "one", renew_deadline_s=2, retry_period_s=2)
