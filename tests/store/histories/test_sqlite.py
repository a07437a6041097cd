"""An API server on SQLite is killed at every point of a write, and at moments of chance: its clients see a history without a flaw."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from pilothouse.kit.http.client import HttpPool
from tests.store.histories.load import NAMESPACE, Load
from tests.store.histories.server import ApiServerProcess
from tests.store.histories.victim import LOCAL_POINTS

pytestmark = pytest.mark.real

SOAK_S = float(os.environ.get("SOAK_S", "0"))
"""For so long servers are killed again and again, after each point had its turn."""
SEED = int(os.environ.get("SOAK_SEED", "1"))
AT_RANDOM = "at random"
WRITES = 40
"""How many writes are acknowledged before a server is told to die."""


async def test_every_point_of_a_write(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with ApiServerProcess(tmp_path) as server:
        load = Load([server.address], seed=SEED)

        async def die_again_and_again() -> None:
            for point in (*LOCAL_POINTS, AT_RANDOM, AT_RANDOM):
                await die_at(server, load, point, rng)
            while loop.time() - began < SOAK_S:
                await die_at(server, load, rng.choice((*LOCAL_POINTS, *[AT_RANDOM] * 8)), rng)
            server.start()
            await server.ready()
            load.up()
            await load.more(WRITES)

        server.start()
        await server.ready()
        await make_namespace(server)
        server.kill()
        await server.died()
        async with asyncio.timeout(240 + 2 * SOAK_S):
            await load.run(die_again_and_again)
    assert load.answered >= WRITES * len(LOCAL_POINTS)


async def test_a_first_start_that_is_cut_short_is_made_up_for(tmp_path: Path) -> None:
    """The cluster's own objects are there in the end, however often a start died among them."""
    with ApiServerProcess(tmp_path) as server:
        for point in (
            "!begin.before:1",
            "!insert.within:2",
            "!commit.before:4",
            "!insert.within:40",
            "!commit.after:2",
        ):
            server.start(point)
            async with asyncio.timeout(60):
                await server.died()
        server.start()
        await server.ready()
        pool = HttpPool("127.0.0.1", server.port, ssl_context=server.context)
        for path in (
            "/api/v1/namespaces/kube-system",
            "/api/v1/namespaces/default/services/kubernetes",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
            "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        ):
            assert (await pool.request("GET", path, headers={})).status == 200, path
        await pool.close()
        await make_namespace(server)


async def die_at(server: ApiServerProcess, load: Load, point: str, rng: random.Random) -> None:
    server.start("" if point == AT_RANDOM else f"{point}:{rng.randrange(1, 8)}")
    await server.ready()
    load.up()
    await load.more(rng.randrange(WRITES // 2, WRITES * 2))
    if point == AT_RANDOM:
        server.kill()
    else:
        server.arm()
    async with asyncio.timeout(30):
        await server.died()
    load.down()


async def make_namespace(server: ApiServerProcess) -> None:
    pool = HttpPool("127.0.0.1", server.port, ssl_context=server.context)
    body = b'{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"%b"}}' % NAMESPACE.encode()
    answer = await pool.request("POST", "/api/v1/namespaces", headers={"content-type": "application/json"}, body=body)
    assert answer.status == 201, answer.body
    await pool.close()
