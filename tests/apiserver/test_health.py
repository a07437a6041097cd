"""Health: every check by itself and all together."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.apiserver.health import Health, Outcomes, Progress, answering, ping, running
from pilothouse.apiserver.metrics.page import Page
from pilothouse.store.base import StoreUnavailable
from tests.apiserver.harness import Harness


class World:
    def __init__(self) -> None:
        self.server = Harness()
        self.why = ""
        self.outcomes = Outcomes()
        self.progress = Progress(("start-informers", "rbac/bootstrap-roles", "autoregister-completion"))
        first = {"ping": ping, "etcd": self._etcd}
        ready = {
            **first,
            "informer-sync": self.progress.informers,
            **self.progress.checks(),
            "shutdown": running(lambda: self.server.app.is_stopping),
        }
        self.server.app.paths |= Health("livez", first, self.outcomes).paths()
        self.server.app.paths |= Health("readyz", ready, self.outcomes).paths()

    async def _etcd(self) -> str:
        return self.why

    async def get(self, path: str, query: str = "") -> tuple[int, str]:
        response = await self.server.request("GET", path, query=query)
        assert isinstance(response.body, bytes)
        return response.status, response.body.decode()


@pytest.fixture
def world() -> World:
    world = World()
    world.progress.done("start-informers", "rbac/bootstrap-roles", "autoregister-completion")
    return world


async def test_all_is_well(world: World) -> None:
    assert await world.get("/livez") == (200, "ok")
    assert await world.get("/readyz") == (200, "ok")
    code, text = await world.get("/readyz", "verbose")
    assert code == 200
    assert text == (
        "[+]ping ok\n[+]etcd ok\n[+]informer-sync ok\n[+]poststarthook/start-informers ok\n"
        "[+]poststarthook/rbac/bootstrap-roles ok\n[+]autoregister-completion ok\n[+]shutdown ok\nreadyz check passed\n"
    )


async def test_why_a_check_fails_is_not_for_everybody(world: World) -> None:
    world.why = "the disk is full"
    assert await world.get("/livez") == (500, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n")
    assert await world.get("/livez/etcd") == (500, "internal server error: the disk is full\n")
    assert (await world.get("/readyz"))[0] == 500


async def test_checks_can_be_left_out(world: World) -> None:
    world.why = "the disk is full"
    assert await world.get("/livez", "exclude=etcd") == (200, "ok")
    assert await world.get("/livez", "exclude=etcd&exclude=ping&verbose") == (
        200,
        "[+]ping excluded: ok\n[+]etcd excluded: ok\nlivez check passed\n",
    )
    assert await world.get("/livez", "exclude=etcd&exclude=b&exclude=a&verbose=1") == (
        200,
        '[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for "a", "b"\n'
        "livez check passed\n",
    )


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/livez/ping", 200),
        ("/readyz/poststarthook/rbac/bootstrap-roles", 200),
        ("/readyz/shutdown", 200),
        ("/livez/shutdown", 404),
        ("/livez/none", 404),
    ],
)
async def test_every_check_has_a_path(world: World, path: str, code: int) -> None:
    assert (await world.get(path))[0] == code


async def test_a_server_that_has_not_begun_is_not_ready() -> None:
    world = World()
    world.progress.done("rbac/bootstrap-roles", "autoregister-completion")
    assert await world.get("/livez") == (200, "ok")
    code, text = await world.get("/readyz")
    assert code == 500
    assert "[-]informer-sync failed" in text
    assert "[-]poststarthook/start-informers failed" in text
    with pytest.raises(KeyError):
        world.progress.done("unheard-of")


async def test_a_server_that_stops_lives_and_is_not_ready(world: World) -> None:
    world.server.app.is_stopping = True
    assert await world.get("/livez") == (200, "ok")
    assert (await world.get("/readyz"))[0] == 500
    assert await world.get("/readyz/shutdown") == (500, "internal server error: process is shutting down\n")


async def test_a_store_that_does_not_answer_is_not_waited_for() -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    async def broken() -> None:
        raise StoreUnavailable("the disk is full")

    assert await answering(silent, 0.0)() == "the store does not answer within 0 s"
    assert await answering(broken, 1.0)() == "the disk is full"


async def test_what_checks_say_is_counted(world: World) -> None:
    world.server.app.paths["/metrics/slis"] = Page(world.outcomes.families).serve
    await world.get("/livez")
    world.why = "x"
    await world.get("/livez")
    text = (await world.get("/metrics/slis"))[1]
    assert 'kubernetes_healthcheck{name="etcd",type="livez"} 0' in text
    assert 'kubernetes_healthchecks_total{name="etcd",status="success",type="livez"} 1' in text
    assert 'kubernetes_healthchecks_total{name="etcd",status="error",type="livez"} 1' in text
    assert 'subresource="/livez"' in (await world.get("/metrics"))[1]
