"""Writes through a server whose cache lags behind what another server wrote: they come out as if it did not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from pilothouse.api import gvr, status
from pilothouse.store.base import Change, Deliver, Entry, Feed, Page, Restart, Revision
from pilothouse.store.memory import MemoryStore
from tests.apiserver.harness import Harness, config_map

CONFIG_MAP = "/api/v1/namespaces/default/configmaps/a"


class LaggingFeed:
    """Holds changes back until somebody asks for the latest, as a watch on another machine may."""

    def __init__(self, deliver: Deliver, store: LaggingStore) -> None:
        self._deliver = deliver
        self._store = store
        self._held: list[Change] = []
        self.feed: Feed | None = None

    def take(self, changes: Sequence[Change]) -> None:
        self._held += changes

    @property
    def revision(self) -> Revision:
        assert self.feed is not None
        return Revision(self._held[0].revision - 1) if self._held else self.feed.revision

    @property
    def compacted(self) -> Revision:
        assert self.feed is not None
        return self.feed.compacted

    async def fresh(self) -> None:
        self._store.asked += 1
        held, self._held = self._held, []
        if held:
            self._deliver(held)

    def close(self) -> None:
        assert self.feed is not None
        self.feed.close()


class LaggingStore:
    """A memory store that others write to, seen through feeds that lag."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.asked = 0
        """How often the latest state was asked for."""

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        lagging = LaggingFeed(deliver, self)
        lagging.feed = await self._store.follow(prefix, lagging.take, after=after)
        return lagging

    def watch(self, prefix: str, *, after: Revision) -> AsyncGenerator[Sequence[Change], None]:
        return self._store.watch(prefix, after=after)

    async def get(self, key: str) -> Entry | None:
        return await self._store.get(key)

    async def list(self, prefix: str, **options: Any) -> Page:
        return await self._store.list(prefix, **options)

    async def revision(self) -> Revision:
        return await self._store.revision()

    async def put(self, key: str, value: bytes, **options: Any) -> Revision:
        return await self._store.put(key, value, **options)

    async def delete(self, key: str, **options: Any) -> Revision:
        return await self._store.delete(key, **options)

    async def compact(self, before: Revision) -> None:
        await self._store.compact(before)

    async def close(self) -> None:
        await self._store.close()


@pytest.fixture
async def other() -> Harness:
    """The server that sees all at once; it has written a ConfigMap."""
    other = Harness()
    await other.client.create(gvr.CONFIG_MAPS, config_map("a", k="1"))
    return other


@pytest.fixture
async def server(other: Harness) -> Harness:
    """The server that lags. It has seen the ConfigMap."""
    server = Harness(store=LaggingStore(other.store))
    await server.client.get(gvr.CONFIG_MAPS, "default", "a")
    store_of(server).asked = 0
    return server


def store_of(server: Harness) -> LaggingStore:
    store = server.app.cachers.store
    assert isinstance(store, LaggingStore)
    return store


def data(**values: str) -> dict[str, Any]:
    return {"data": values}


async def test_a_patch_goes_onto_the_latest_state(server: Harness, other: Harness) -> None:
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", data(o="theirs"))
    made = await server.client.patch(gvr.CONFIG_MAPS, "default", "a", data(s="ours"))
    assert made["data"] == {"k": "1", "o": "theirs", "s": "ours"}


async def test_a_patch_that_would_change_nothing_of_an_old_state_changes_the_latest(
    server: Harness, other: Harness
) -> None:
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="2"))
    made = await server.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="1"))
    assert made["data"] == {"k": "1"}
    assert (await other.client.get(gvr.CONFIG_MAPS, "default", "a")) == made


async def test_a_patch_is_refused_for_what_is_now_and_not_for_what_was(server: Harness, other: Harness) -> None:
    async def patch(value: str) -> int:
        body = [{"op": "test", "path": "/data/k", "value": value}, {"op": "add", "path": "/data/x", "value": value}]
        headers = {"content-type": "application/json-patch+json"}
        return (await server.request("PATCH", CONFIG_MAP, body=body, headers=headers)).status

    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="2"))
    assert await patch("1") == 422
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="3"))
    assert await patch("3") == 200


async def test_a_dry_run_shows_the_latest_state(server: Harness, other: Harness) -> None:
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", data(o="theirs"))
    headers = {"content-type": "application/merge-patch+json"}
    made = await server.json("PATCH", CONFIG_MAP, query="dryRun=All", body=data(s="ours"), headers=headers)
    assert made["data"] == {"k": "1", "o": "theirs", "s": "ours"}


async def test_a_replacement_knows_what_its_client_saw(server: Harness, other: Harness) -> None:
    first = await other.client.get(gvr.CONFIG_MAPS, "default", "a")
    second = await other.client.update(gvr.CONFIG_MAPS, {**first, **data(k="2")})
    with pytest.raises(status.Conflict):
        await server.client.update(gvr.CONFIG_MAPS, {**first, **data(k="3")})
    third = await other.client.update(gvr.CONFIG_MAPS, {**second, **data(k="3")})
    fourth = await server.client.update(gvr.CONFIG_MAPS, {**third, **data(k="4")})
    with pytest.raises(status.Conflict):
        await server.client.update(gvr.CONFIG_MAPS, third)
    del fourth["metadata"]["resourceVersion"]
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="5"))
    assert (await server.client.update(gvr.CONFIG_MAPS, {**fourth, **data(k="6")}))["data"] == {"k": "6"}


async def test_what_came_and_went_is_known(server: Harness, other: Harness) -> None:
    await other.client.create(gvr.CONFIG_MAPS, config_map("b"))
    assert (await server.client.patch(gvr.CONFIG_MAPS, "default", "b", data(x="1")))["data"]["x"] == "1"
    await other.client.delete(gvr.CONFIG_MAPS, "default", "a")
    with pytest.raises(status.NotFound):
        await server.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="2"))
    await other.client.create(gvr.CONFIG_MAPS, config_map("a", k="new"))
    made = await server.client.patch(gvr.CONFIG_MAPS, "default", "a", data(x="1"))
    assert made["data"] == {"k": "new", "x": "1"}


async def test_a_deletion_is_of_the_latest_state(server: Harness, other: Harness) -> None:
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", {"metadata": {"finalizers": ["example.com/hold"]}})
    await server.client.delete(gvr.CONFIG_MAPS, "default", "a")
    held = await other.client.get(gvr.CONFIG_MAPS, "default", "a")
    assert "deletionTimestamp" in held["metadata"]
    await other.client.patch(gvr.CONFIG_MAPS, "default", "a", {"metadata": {"finalizers": None}})
    with pytest.raises(status.NotFound):
        await server.client.delete(gvr.CONFIG_MAPS, "default", "a")
    made = await other.client.create(gvr.CONFIG_MAPS, config_map("a"))
    with pytest.raises(status.Conflict):
        await server.client.delete(gvr.CONFIG_MAPS, "default", "a", uid=held["metadata"]["uid"])
    await server.client.delete(gvr.CONFIG_MAPS, "default", "a", uid=made["metadata"]["uid"])
    with pytest.raises(status.NotFound):
        await other.client.get(gvr.CONFIG_MAPS, "default", "a")


async def test_a_write_that_finds_what_it_expects_asks_nobody(server: Harness) -> None:
    await server.client.patch(gvr.CONFIG_MAPS, "default", "a", data(k="2"))
    assert store_of(server).asked == 0
    seen = await server.client.get(gvr.CONFIG_MAPS, "default", "a")
    store_of(server).asked = 0
    await server.client.update(gvr.CONFIG_MAPS, {**seen, **data(k="3")})
    assert store_of(server).asked == 0
