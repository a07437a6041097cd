"""The scheduler as a component, against a real API server in this process and in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pilothouse.api import meta, status
from pilothouse.api.gvr import CORE_EVENTS, NODES, PODS
from pilothouse.api.meta import Object
from pilothouse.client.client import Client
from pilothouse.scheduler.scheduler import Scheduler, SchedulerOptions
from tests.controllers.cluster import Cluster, running


class Refusing(Client):
    """Refuses the first bindings, as an API server under pressure might."""

    refusals = 0

    async def create(self, gvr: Any, obj: Any, **options: Any) -> Object:
        if options.get("subresource") == "binding" and self.refusals > 0:
            self.refusals -= 1
            raise status.ServiceUnavailable("not now")
        return await super().create(gvr, obj, **options)


class Bench:
    def __init__(self, cluster: Cluster, client: Refusing) -> None:
        self.cluster = cluster
        self.client = client

    async def node(self, name: str, *, cpu: str = "4", **spec: Any) -> None:
        allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
        status_ = {"allocatable": allocatable, "capacity": allocatable}
        await self.cluster.create(NODES, name, spec=spec, status=status_)

    async def pod(self, name: str, *, cpu: str = "", **spec: Any) -> None:
        container = {"name": "main", "image": "web:1"}
        if cpu:
            container["resources"] = {"requests": {"cpu": cpu}}  # type: ignore[assignment]
        await self.cluster.create(PODS, name, namespace="default", spec={"containers": [container], **spec})

    async def get(self, name: str) -> Object:
        return await self.cluster.client.get(PODS, "default", name)

    async def is_bound(self, name: str, to: str = "") -> bool:
        node_name = (await self.get(name))["spec"].get("nodeName", "")
        return node_name == to if to else bool(node_name)

    async def condition(self, name: str) -> dict[str, Any]:
        pod = await self.get(name)
        return dict(meta.condition_of(pod["status"].get("conditions"), "PodScheduled") or {})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running() as cluster:
        cluster.kubelet_runs = False
        await cluster.client.delete(NODES, "", "n1")
        client = Refusing(cluster.client.transport)
        scheduler = Scheduler(client, cluster.informers, SchedulerOptions(), cluster.clock, random.Random(1))
        task = asyncio.create_task(scheduler.run())
        try:
            yield Bench(cluster, client)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_pod_is_bound_and_told_so(bench: Bench) -> None:
    await bench.node("a")
    await bench.pod("web")
    await bench.cluster.until(lambda: bench.is_bound("web", "a"))
    assert (await bench.condition("web"))["status"] == "True"

    async def is_told() -> bool:
        events = await bench.cluster.list(CORE_EVENTS, "default")
        return any(event["message"] == "Successfully assigned default/web to a" for event in events)

    await bench.cluster.until(is_told)


async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_there_is_room(bench: Bench) -> None:
    await bench.node("small", cpu="1")
    await bench.pod("big", cpu="2")

    async def says_why() -> bool:
        return (await bench.condition("big")).get("message") == "0/1 nodes are available: 1 Insufficient cpu."

    await bench.cluster.until(says_why)
    assert (await bench.condition("big"))["reason"] == "Unschedulable"
    await bench.node("large", cpu="4")
    await bench.cluster.until(lambda: bench.is_bound("big", "large"))


async def test_a_pod_that_ends_makes_room(bench: Bench) -> None:
    await bench.node("a", cpu="1")
    await bench.pod("first", cpu="1")
    await bench.cluster.until(lambda: bench.is_bound("first"))
    await bench.pod("second", cpu="1")
    await bench.cluster.settle()
    assert not await bench.is_bound("second")
    await bench.cluster.client.delete(PODS, "default", "first", grace_period_s=0)
    await bench.cluster.until(lambda: bench.is_bound("second", "a"))


async def test_a_binding_that_fails_is_tried_again(bench: Bench) -> None:
    bench.client.refusals = 2
    await bench.node("a", cpu="1")
    await bench.pod("web", cpu="1")
    await bench.cluster.until(lambda: bench.is_bound("web", "a"))
    assert bench.client.refusals == 0


async def test_gated_pods_and_those_of_others_are_left_alone(bench: Bench) -> None:
    await bench.node("a")
    await bench.pod("gated", schedulingGates=[{"name": "wait"}])
    await bench.pod("foreign", schedulerName="other")
    await bench.pod("plain")
    await bench.cluster.until(lambda: bench.is_bound("plain"))
    await bench.cluster.until(lambda: True)
    assert not await bench.is_bound("gated")
    assert not await bench.is_bound("foreign")
    patch = {"spec": {"schedulingGates": []}}
    await bench.cluster.client.patch(PODS, "default", "gated", patch)
    await bench.cluster.until(lambda: bench.is_bound("gated", "a"))


async def test_many_pods_never_overcommit_a_node(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        await bench.node(name, cpu="2")
    for number in range(10):
        await bench.pod(f"pod-{number}", cpu="500m")

    async def all_bound() -> bool:
        return all([await bench.is_bound(f"pod-{number}") for number in range(10)])

    await bench.cluster.until(all_bound)
    pods = await bench.cluster.list(PODS, "default")
    counts = {name: sum(pod["spec"]["nodeName"] == name for pod in pods) for name in ("a", "b", "c")}
    assert max(counts.values()) <= 4
    assert min(counts.values()) >= 3
