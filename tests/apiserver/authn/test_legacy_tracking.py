"""Since when uses of legacy tokens are written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.status import NotFound
from pilothouse.apiserver.authn.legacy_tracking import CREATE_S, KEEP_S, NAME, NAMESPACE, Tracking
from pilothouse.store.base import StoreUnavailable
from tests.apiserver.harness import Harness

PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}"
DAY_S = 86400.0


class World:
    def __init__(self) -> None:
        self.harness = Harness()
        self.clock = self.harness.clock
        self.config_maps: Any = None

    async def since(self) -> str | None:
        try:
            found = await self.harness.client.get(kinds.CONFIG_MAPS, NAMESPACE, NAME)
        except NotFound:
            return None
        since: str = found["data"]["since"]
        return since


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    config_maps = world.config_maps = await world.harness.app.registry(
        world.harness.app.endpoint(kinds.CONFIG_MAPS).resource
    )
    running = asyncio.ensure_future(Tracking(config_maps, world.clock).run())
    await world.clock.advance(0)
    yield world
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_day_stays(world: World) -> None:
    first = await world.since()
    assert first is not None
    assert len(first) == len("2026-01-01")
    await world.clock.advance(2 * DAY_S)
    assert await world.since() == first


async def test_it_is_not_made_again_at_once(world: World) -> None:
    first = await world.since()
    assert (await world.harness.request("DELETE", PATH)).status == 200
    await world.clock.advance(CREATE_S / 2)
    assert await world.since() is None
    await world.clock.advance(CREATE_S / 2 + KEEP_S)
    assert await world.since() == first


async def test_a_store_that_fails_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*arguments: object) -> None:
        raise StoreUnavailable("the disk is full")

    await world.harness.request("DELETE", PATH)
    with monkeypatch.context() as patched:
        patched.setattr(world.config_maps, "create", fail)
        await world.clock.advance(2 * CREATE_S)
    assert await world.since() is None
    await world.clock.advance(KEEP_S)
    assert await world.since()


@pytest.mark.parametrize("text", ["", "yesterday", "2026-1-1", "2026-01-01T00:00:00Z"])
async def test_what_is_no_day_is_mended(world: World, text: str) -> None:
    first = await world.since()
    change = {"data": {"since": text, "other": "x"}}
    await world.harness.request("PATCH", PATH, body=change, headers={"content-type": "application/merge-patch+json"})
    await world.clock.advance(KEEP_S)
    assert await world.since() == first
