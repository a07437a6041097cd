"""Requests under FlowSchemas and PriorityLevelConfigurations."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pilothouse.api import gvr
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import TooManyRequests
from pilothouse.api.user import User
from pilothouse.apiserver import flow
from pilothouse.apiserver.fairness.controller import WAIT_S, Fairness
from pilothouse.apiserver.objects import CachedObjects
from pilothouse.apiserver.route import RequestInfo, request_info
from tests.apiserver.harness import Harness

ALICE = User("alice", groups=("system:authenticated",))
MASTER = User("root", groups=("system:masters", "system:authenticated"))
PODS = request_info("GET", "/api/v1/namespaces/a/pods", {})


def limited(name: str, shares: int, **response: Any) -> dict[str, Any]:
    spec = {"nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0}
    return {
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {**spec, "limitResponse": response or {"type": "Reject"}}},
    }


def schema(name: str, level: str, user: str, precedence: int = 50) -> dict[str, Any]:
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    return {
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [rule]}],
        },
    }


class World:
    def __init__(self, seats: int = 600) -> None:
        self.harness = Harness()
        by_gvr = {resource.gvr: resource for resource in RESOURCES}
        self.objects = CachedObjects(self.harness.app.cachers, by_gvr.__getitem__)
        self.fairness = Fairness(self.objects, self.harness.clock, seats=seats)

    async def open(self) -> None:
        for level in flow.priority_levels():
            await self.harness.client.create(gvr.PRIORITY_LEVEL_CONFIGURATIONS, level)
        for each in flow.flow_schemas():
            await self.harness.client.create(gvr.FLOW_SCHEMAS, each)
        await self.fairness.open()

    def level(self, user: User, info: RequestInfo = PODS) -> str:
        seat = self.fairness.take(user, info)
        self.fairness.done(seat)
        return str(seat.level.name)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.open()
    return world


async def test_the_first_schemas_are_upstreams(world: World) -> None:
    node = User("system:node:n", groups=("system:nodes", "system:authenticated"))
    robot = User("system:serviceaccount:kube-system:x", groups=("system:serviceaccounts", "system:authenticated"))
    other = User("system:serviceaccount:a:x", groups=("system:serviceaccounts", "system:authenticated"))
    lease = request_info("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x", {})
    scheduler = User("system:kube-scheduler", groups=("system:authenticated",))
    assert world.level(MASTER) == "exempt"
    assert world.level(ALICE) == "global-default"
    assert world.level(node) == "system"
    assert world.level(node, lease) == "node-high"
    assert world.level(scheduler, lease) == "leader-election"
    assert world.level(scheduler) == "workload-high"
    assert world.level(robot) == "workload-high"
    assert world.level(other) == "workload-low"
    assert world.level(ALICE, request_info("GET", "/healthz", {})) == "exempt"
    assert world.level(User("x")) == "catch-all"


async def test_a_level_takes_effect_at_once_and_says_so(world: World) -> None:
    client = world.harness.client
    level = await client.create(gvr.PRIORITY_LEVEL_CONFIGURATIONS, limited("tiny", 1))
    assert world.level(ALICE) == "global-default"
    made = await client.create(gvr.FLOW_SCHEMAS, schema("tiny", "tiny", "alice"))
    seats = [world.fairness.take(ALICE, PODS) for _ in range(seat_count(world, "tiny"))]
    assert seats[0].headers == {
        "x-kubernetes-pf-flowschema-uid": made["metadata"]["uid"],
        "x-kubernetes-pf-prioritylevel-uid": level["metadata"]["uid"],
    }
    with pytest.raises(TooManyRequests) as refused:
        world.fairness.take(ALICE, PODS)
    assert refused.value.retry_after_s == 1
    assert world.level(MASTER) == "exempt"
    await client.delete(gvr.FLOW_SCHEMAS, "", "tiny")
    assert world.level(ALICE) == "global-default"
    for seat in seats:
        world.fairness.done(seat)


def seat_count(world: World, name: str) -> int:
    world.fairness._configure()
    return world.fairness._levels[name].nominal


async def waiting_world() -> tuple[World, list[Any]]:
    world = World(seats=10)
    await world.open()
    queuing = {"queues": 4, "handSize": 1, "queueLengthLimit": 10}
    level = limited("q", 1, type="Queue", queuing=queuing)
    await world.harness.client.create(gvr.PRIORITY_LEVEL_CONFIGURATIONS, level)
    await world.harness.client.create(gvr.FLOW_SCHEMAS, schema("q", "q", "alice"))
    return world, [world.fairness.take(ALICE, PODS) for _ in range(seat_count(world, "q"))]


async def test_who_waits_begins_when_another_is_done() -> None:
    world, running = await waiting_world()
    seat = world.fairness.take(ALICE, PODS)
    assert seat.waiting is not None
    task = asyncio.ensure_future(world.fairness.wait(seat))
    await asyncio.sleep(0)
    assert not task.done()
    world.fairness.done(running[0])
    await task
    world.fairness.done(seat)
    assert not world.fairness._pressed


async def test_nobody_waits_for_ever() -> None:
    world, _ = await waiting_world()
    seat = world.fairness.take(ALICE, PODS)
    task = asyncio.ensure_future(world.fairness.wait(seat))
    await asyncio.sleep(0)
    await world.harness.clock.advance(WAIT_S + 1)
    with pytest.raises(TooManyRequests):
        await task
    assert seat.level.waiting == 0


async def test_who_goes_away_leaves_the_queue() -> None:
    world, running = await waiting_world()
    seat = world.fairness.take(ALICE, PODS)
    task = asyncio.ensure_future(world.fairness.wait(seat))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seat.level.waiting == 0
    late = world.fairness.take(ALICE, PODS)
    task = asyncio.ensure_future(world.fairness.wait(late))
    await asyncio.sleep(0)
    world.fairness.done(running[0])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert late.level.executing == len(running) - 1


async def test_idle_seats_are_lent() -> None:
    world = World(seats=100)
    await world.open()
    own = seat_count(world, "global-default")
    seats = [world.fairness.take(ALICE, PODS) for _ in range(own + 10)]
    assert all(seat.waiting is None for seat in seats)
    for seat in seats:
        world.fairness.done(seat)


async def test_a_schema_without_its_level_is_dangling(world: World) -> None:
    client = world.harness.client
    task = asyncio.ensure_future(world.fairness.run(world.harness.app))
    await client.create(gvr.FLOW_SCHEMAS, schema("lost", "nowhere", "alice"))
    assert world.level(ALICE) == "global-default"

    async def dangling() -> Any:
        await world.harness.clock.advance(0, settle_turns=100)
        return (await client.get(gvr.FLOW_SCHEMAS, "", "lost"))["status"]["conditions"][0]

    assert ((await dangling())["status"], (await dangling())["reason"]) == ("True", "NotFound")
    await client.create(gvr.PRIORITY_LEVEL_CONFIGURATIONS, limited("nowhere", 1))
    assert (await dangling())["message"].endswith('object named "nowhere" and it exists')
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_idle_server_pays_almost_nothing(world: World) -> None:
    fairness = world.fairness
    fairness.done(fairness.take(ALICE, PODS))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            fairness.done(fairness.take(ALICE, PODS))
        best = min(best, (time.perf_counter() - began) / 2000)
    print(f"{best * 1e6:.2f} µs")
    assert best < 20e-6
