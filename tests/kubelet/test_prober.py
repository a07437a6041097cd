from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from pilothouse.api.meta import UID
from pilothouse.kit.clock import VirtualClock
from pilothouse.kubelet.probes.actions import Target, run_probe
from pilothouse.kubelet.probes.prober import PodProber
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, ExecResult, PodRecord
from pilothouse.kubelet.seams import ProbeKind, ProbeResult

UID_ = UID("u")


class Runtime:
    """Answers exec probes as the test says."""

    def __init__(self) -> None:
        self.exit_code = 0
        self.calls = 0

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        self.calls += 1
        return ExecResult(b"", b"not well", self.exit_code)


class Recorder:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def event(self, obj: object, gvr: object, type: str, reason: str, message: str, **rest: object) -> None:
        self.messages.append(f"{type} {reason}: {message}")


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.runtime = Runtime()
        self.recorder = Recorder()
        self.prober = PodProber(self.runtime, self.recorder, self.clock, random.Random(1))  # type: ignore[arg-type]
        self.woken: list[UID] = []
        self.prober.watch(self.woken.append)

    def observe(self, state: ContainerState = ContainerState.RUNNING, id: str = "c1", **probes: Any) -> None:
        pod = {
            "metadata": {"name": "web", "namespace": "default", "uid": UID_},
            "spec": {"containers": [{"name": "main", **probes}]},
        }
        container = ContainerRecord(id, "s", "main", 0, state, 0, UID_, started_at=self.clock.now())
        self.prober.observe(pod, PodRecord(UID_, containers=(container,)), ["127.0.0.1"])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    task = asyncio.create_task(made.prober.run())
    await asyncio.sleep(0)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


EXEC = {"exec": {"command": ["true"]}, "periodSeconds": 10, "failureThreshold": 3, "successThreshold": 1}


async def test_readiness_follows_the_thresholds(bench: Bench) -> None:
    bench.observe(readinessProbe={**EXEC, "initialDelaySeconds": 5})
    await bench.clock.advance(4)
    assert bench.prober.result(ProbeKind.READINESS, "c1") is ProbeResult.UNKNOWN
    await bench.clock.advance(1)
    assert bench.prober.result(ProbeKind.READINESS, "c1") is ProbeResult.SUCCESS
    bench.runtime.exit_code = 1
    await bench.clock.advance(25)
    assert bench.prober.result(ProbeKind.READINESS, "c1") is ProbeResult.SUCCESS
    await bench.clock.advance(10)
    assert bench.prober.result(ProbeKind.READINESS, "c1") is ProbeResult.FAILURE
    assert bench.recorder.messages[0] == "Warning Unhealthy: Readiness probe failed: not well"
    assert bench.woken == [UID_, UID_]


async def test_a_startup_probe_holds_back_the_others(bench: Bench) -> None:
    bench.runtime.exit_code = 1
    bench.observe(startupProbe={**EXEC, "failureThreshold": 30}, livenessProbe=EXEC)
    await bench.clock.advance(100)
    assert bench.prober.result(ProbeKind.LIVENESS, "c1") is ProbeResult.UNKNOWN
    bench.runtime.exit_code = 0
    await bench.clock.advance(10)
    assert bench.prober.result(ProbeKind.STARTUP, "c1") is ProbeResult.SUCCESS
    assert bench.prober.result(ProbeKind.LIVENESS, "c1") is ProbeResult.SUCCESS


async def test_liveness_stops_after_its_failure_until_a_new_container(bench: Bench) -> None:
    bench.runtime.exit_code = 1
    bench.observe(livenessProbe={**EXEC, "failureThreshold": 1})
    await bench.clock.advance(60)
    assert (bench.runtime.calls, bench.prober.result(ProbeKind.LIVENESS, "c1")) == (1, ProbeResult.FAILURE)
    bench.observe(ContainerState.EXITED, livenessProbe=EXEC)
    assert bench.prober.result(ProbeKind.LIVENESS, "c1") is ProbeResult.UNKNOWN
    bench.runtime.exit_code = 0
    bench.observe(id="c2", livenessProbe=EXEC)
    await bench.clock.advance(1)
    assert bench.prober.result(ProbeKind.LIVENESS, "c2") is ProbeResult.SUCCESS


async def test_a_forgotten_pod_is_probed_no_more(bench: Bench) -> None:
    bench.observe(readinessProbe=EXEC)
    await bench.clock.advance(1)
    bench.prober.forget(UID_)
    await bench.clock.advance(60)
    assert bench.runtime.calls == 1


async def _serve(answer: bytes) -> tuple[asyncio.Server, int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("status", "success", "output"),
    [(b"200 OK", True, ""), (b"399 x", True, ""), (b"500 x", False, "HTTP probe failed with statuscode: 500")],
)
async def test_http(status: bytes, success: bool, output: str) -> None:
    server, port = await _serve(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    target = Target({"name": "main", "ports": [{"name": "web", "containerPort": port}]}, "c1", "127.0.0.1")
    async with server:
        outcome = await run_probe({"httpGet": {"port": "web", "path": "/ok"}}, target, Runtime())  # type: ignore[arg-type]
    assert (outcome.success, outcome.output) == (success, output)


async def test_nothing_listens() -> None:
    target = Target({"name": "main"}, "c1", "127.0.0.1")
    for action in ({"tcpSocket": {"port": 1}}, {"httpGet": {"port": 1}}):
        outcome = await run_probe(action, target, Runtime())  # type: ignore[arg-type]
        assert not outcome.success
        assert "127.0.0.1:1" in outcome.output


async def test_probes_are_counted_for_as_long_as_the_pod_is_known(bench: Bench) -> None:
    bench.observe(readinessProbe=EXEC)
    await bench.clock.advance(11)
    bench.runtime.exit_code = 1
    await bench.clock.advance(10)
    counted = {(count.container, count.kind, count.result): n for count, n in bench.prober.totals().items()}
    assert counted == {
        ("main", ProbeKind.READINESS, "successful"): 2,
        ("main", ProbeKind.READINESS, "failed"): 1,
    }
    bench.prober.forget(UID_)
    assert not bench.prober.totals()
