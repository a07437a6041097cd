from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from pilothouse.api import status
from pilothouse.api.meta import UID, Object
from pilothouse.client.client import Client
from pilothouse.kit.clock import VirtualClock
from pilothouse.kubelet.reporter import StatusReporter
from tests.kubelet.fake_api import FakeApi, path_of, pod

UID_ = UID("uid-web")


class Bench:
    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = VirtualClock()
        self.reporter = StatusReporter(Client(self.api), self.clock, random.Random(1))
        self.pod = self.api.put(path_of(pod()), pod())

    @property
    def path(self) -> str:
        return path_of(self.pod)

    def patches(self) -> int:
        return sum(method == "PATCH" for method, _ in self.api.requests)

    def report(self, phase: str) -> None:
        self.reporter.report(self.pod, {"phase": phase})

    def shown(self) -> Object:
        shown: Object = self.api.objects[self.path]["status"]
        return shown


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    task = asyncio.get_running_loop().create_task(made.reporter.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_only_what_differs_is_written(bench: Bench) -> None:
    bench.report("Pending")
    await bench.clock.advance(1)
    assert bench.patches() == 0
    bench.report("Running")
    await bench.reporter.settled(UID_)
    assert bench.shown()["phase"] == "Running"
    bench.report("Running")
    await bench.clock.advance(1)
    assert bench.patches() == 1


async def test_what_is_reported_meanwhile_replaces_what_was_not_sent(bench: Bench) -> None:
    for phase in ("Running", "Unknown", "Failed"):
        bench.report(phase)
    await bench.reporter.settled(UID_)
    assert bench.shown()["phase"] == "Failed"
    assert bench.patches() == 1


async def test_a_stale_pod_does_not_undo_what_the_api_has_answered(bench: Bench) -> None:
    bench.report("Running")
    await bench.reporter.settled(UID_)
    bench.reporter.report(bench.pod, {"phase": "Running"})
    await bench.clock.advance(1)
    assert bench.patches() == 1


async def test_a_status_that_somebody_overwrote_is_written_again(bench: Bench) -> None:
    bench.report("Running")
    await bench.reporter.settled(UID_)
    spoiled = bench.api.put(bench.path, {**bench.api.objects[bench.path], "status": {"phase": "Pending"}})
    bench.reporter.report(spoiled, {"phase": "Running"})
    await bench.reporter.settled(UID_)
    assert bench.shown()["phase"] == "Running"


async def test_failures_are_tried_again_but_not_what_the_api_refuses(bench: Bench) -> None:
    bench.api.refuse["PATCH", "/pods/"] = status.ServiceUnavailable("down")
    bench.report("Running")
    await bench.clock.advance(1)
    assert bench.patches() > 1
    bench.api.refuse["PATCH", "/pods/"] = status.Invalid("no")
    await bench.clock.advance(20)
    before = bench.patches()
    await bench.reporter.settled(UID_)
    await bench.clock.advance(60)
    assert bench.patches() == before


async def test_a_pod_that_is_gone_or_another_one_ends_it(bench: Bench) -> None:
    other = pod(uid="another")
    bench.api.objects[bench.path] = other
    bench.report("Running")
    await bench.reporter.settled(UID_)
    await bench.clock.advance(1)
    assert bench.reporter.wanted(UID_) is None
    assert bench.api.objects[bench.path]["status"]["phase"] == "Pending"
