"""What a cluster's processes hold when it has many objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bench import objects, process
from bench.cluster import whole_cluster
from bench.http import RequestRefused, Server, encode
from bench.report import Measurement

CONFIGMAPS = 30_000
PODS = 1000
SETTLE_S = 10.0
_CORE = "/api/v1/namespaces/bench"


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    """Simulated nodes do: the pods are for no node, and what they would cost a kubelet is not the question."""
    async with whole_cluster(simulated=simulated or 1) as cluster:
        await cluster.up()
        server = cluster.server
        await server.request("POST", "/api/v1/namespaces", objects.namespace("bench"))
        await until_service_account(server, "bench")
        load = await server.load(16)
        try:
            await load.run(
                encode("POST", f"{_CORE}/configmaps", objects.configmap(f"c-{number}")) for number in range(CONFIGMAPS)
            )
            await load.run(encode("POST", f"{_CORE}/pods", objects.large_pod(f"p-{number}")) for number in range(PODS))
        finally:
            load.close()
        await asyncio.sleep(SETTLE_S)
        memory = {name: process.memory_bytes(pid) / 1e6 for name, pid in cluster.pids().items()}
        shares = ", ".join(f"{name} {value:.0f} MB" for name, value in memory.items())
        yield Measurement("memory.loaded", sum(memory.values()), shares)


async def until_service_account(server: Server, namespace: str) -> None:
    """A Pod can be created only after its namespace has a ServiceAccount."""
    async with asyncio.timeout(10):
        while True:
            try:
                await server.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
                return
            except RequestRefused:
                await asyncio.sleep(0.02)
