"""Two API servers on three etcd members: servers are killed at every point of a write, the leader dies, the majority is lost and found.

Clients of both see one history without a flaw.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import orjson
import pytest

from pilothouse.kit.http.client import HttpPool
from tests.store.etcd.server import Etcd, leader_of, needs_etcd
from tests.store.histories.load import Load
from tests.store.histories.server import ApiServerProcess
from tests.store.histories.test_sqlite import AT_RANDOM, SEED, SOAK_S, WRITES, die_at, make_namespace
from tests.store.histories.victim import ETCD_POINTS

pytestmark = [needs_etcd, pytest.mark.real]


class Cluster:
    """Two API servers: the first is killed again and again, the other stays."""

    def __init__(self, directory: Path, etcd: Etcd) -> None:
        self.etcd = etcd
        self.mortal = ApiServerProcess(directory / "mortal", etcd_servers=etcd.urls)
        self.other = ApiServerProcess(directory / "other", etcd_servers=etcd.urls[::-1])
        self.load = Load([self.mortal.address, self.other.address], seed=SEED)
        self.rng = random.Random(SEED)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for point in (*ETCD_POINTS, AT_RANDOM):
            await die_at(self.mortal, self.load, point, self.rng)
        self.mortal.start()
        await self.mortal.ready()
        self.load.up()
        await self.lose_leader()
        await self.lose_majority()
        while loop.time() - began < SOAK_S:
            await self.rng.choice((self.lose_leader, self.lose_leader, self.lose_majority, self.lose_server))()
        await self.load.more(WRITES)

    async def lose_server(self) -> None:
        self.mortal.kill()
        await self.mortal.died()
        self.load.down()
        await die_at(self.mortal, self.load, self.rng.choice((*ETCD_POINTS, AT_RANDOM)), self.rng)
        self.mortal.start()
        await self.mortal.ready()
        self.load.up()

    async def lose_leader(self) -> None:
        await self.load.more(WRITES)
        leader = await leader_of(self.etcd)
        leader.kill()
        await self.load.more(WRITES)
        leader.start()
        await asyncio.to_thread(leader.wait)

    async def lose_majority(self) -> None:
        lost = self.rng.sample(self.etcd.members, 2)
        for member in lost:
            member.kill()
        for server in (self.mortal, self.other):
            await expect_refusals(server)
        for member in lost:
            member.start()
        for member in lost:
            await asyncio.to_thread(member.wait)
        for server in (self.mortal, self.other):
            await server.ready()
        await self.load.more(WRITES)


async def expect_refusals(server: ApiServerProcess) -> None:
    """Without a majority the server says that it is not ready, and refuses with a Status that says why."""
    pool = HttpPool("127.0.0.1", server.port, ssl_context=server.context)
    ready, read, written = await asyncio.gather(
        pool.request("GET", "/readyz", headers={}),
        pool.request("GET", "/api/v1/namespaces/default/configmaps", headers={}),
        pool.request(
            "POST",
            "/api/v1/namespaces/default/configmaps",
            headers={"content-type": "application/json"},
            body=b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"generateName":"x-"}}',
        ),
    )
    await pool.close()
    assert ready.status == 500
    assert b"[-]etcd failed" in ready.body
    assert read.status == 503
    assert written.status in (500, 503)
    for answer in (read, written):
        status = orjson.loads(answer.body)
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status)
        assert "etcd" in status["message"]


async def test_servers_and_members_come_and_go(tmp_path: Path) -> None:
    with Etcd(tmp_path, size=3) as etcd:
        cluster = Cluster(tmp_path, etcd)
        with cluster.mortal as mortal, cluster.other as other:
            mortal.start()
            await mortal.ready()
            await make_namespace(mortal)
            mortal.kill()
            await mortal.died()
            other.start()
            await other.ready()
            cluster.load.up(1)
            async with asyncio.timeout(300 + 2 * SOAK_S):
                await cluster.load.run(cluster.run)
    assert cluster.load.answered >= WRITES * len(ETCD_POINTS) // 2


def test_the_etcd_under_test_is_the_one_that_was_named() -> None:
    named = os.environ.get("ETCD")
    assert named is None or Path(named).is_file(), f"ETCD={named} is no file"
