"""Start-up: from the command to an API server that is ready, and to nodes that are."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bench.cluster import whole_cluster
from bench.report import Measurement


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    """A first start, which makes certificates, images and the store; then starts as on any later day."""
    async with whole_cluster(simulated=simulated) as cluster:
        api_s, node_s = await cluster.up()
        yield Measurement("startup.first.api", api_s)
        yield Measurement("startup.first.node", node_s)
        later = []
        for _ in range(3):
            await cluster.down()
            later.append(await cluster.up())
        for name, values in (("startup.api", [api for api, _ in later]), ("startup.node", [node for _, node in later])):
            values.sort()
            yield Measurement(name, values[1], f"median of 3, {values[0]:.2f} to {values[2]:.2f}")
