"""What a cluster costs that does nothing: memory and CPU of all its processes, containerd and its shims apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from bench import process
from bench.cluster import whole_cluster
from bench.report import Measurement

SETTLE_S = 30.0
OBSERVE_S = 60.0


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    async with whole_cluster(simulated=simulated) as cluster:
        await cluster.up()
        await asyncio.sleep(SETTLE_S)
        pids = cluster.pids()
        memory = {name: process.memory_bytes(pid) / 1e6 for name, pid in pids.items()}
        yield Measurement("idle.memory", sum(memory.values()), _shares(memory, "MB"))
        before = {name: process.cpu_s([pid]) for name, pid in pids.items()}
        began = time.monotonic()
        await asyncio.sleep(OBSERVE_S)
        elapsed_s = time.monotonic() - began
        percent = {name: (process.cpu_s([pid]) - before[name]) / elapsed_s * 100 for name, pid in pids.items()}
        yield Measurement("idle.cpu", sum(percent.values()), _shares(percent, "%"))


def _shares(values: dict[str, float], unit: str) -> str:
    return ", ".join(
        f"{name} {value:.2f} {unit}" if unit == "%" else f"{name} {value:.0f} {unit}" for name, value in values.items()
    )
