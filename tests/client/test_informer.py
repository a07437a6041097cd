"""The informer against a scripted server: what it must survive comes first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from pilothouse.api import status
from pilothouse.api.gvr import NODES, PODS
from pilothouse.api.meta import Object
from pilothouse.client.client import Client
from pilothouse.client.informer import InformerFactory
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import Request, Response
from tests.controllers.cluster import api_server


def pod(name: str, revision: int, **labels: str) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "resourceVersion": str(revision),
            "labels": labels,
            "managedFields": [{"manager": "kubectl"}],
        }
    }


class Server:
    """Answers lists from `objects` and watches from a queue; `faults` are raised first, in order."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.revision = 1
        self.faults: list[status.StatusError] = []
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.requests: list[Request] = []

    def set(self, obj: Object, type_: str = "ADDED", *, tell: bool = True) -> None:
        self.revision = int(obj["metadata"]["resourceVersion"])
        if type_ == "DELETED":
            self.objects.pop(obj["metadata"]["name"], None)
        else:
            self.objects[obj["metadata"]["name"]] = obj
        if tell:
            self.send({"type": type_, "object": obj})

    def send(self, event: Any) -> None:
        self.events.put_nowait(orjson.dumps(event) + b"\n")

    async def app(self, request: Request) -> Response:
        self.requests.append(request)
        if self.faults:
            error = self.faults.pop(0)
            return Response(error.status_code, {}, orjson.dumps(error.to_object()))
        if "watch=true" in request.query:
            return Response(200, {}, self._stream())
        body = {"metadata": {"resourceVersion": str(self.revision)}, "items": list(self.objects.values())}
        return Response(200, {}, orjson.dumps(body))

    async def _stream(self) -> AsyncIterator[bytes]:
        while (line := await self.events.get()) is not None:
            yield line


class Heard(list[tuple[str | None, str | None]]):
    def __call__(self, old: Object | None, new: Object | None) -> None:
        self.append((_shown(old), _shown(new)))


def _shown(obj: Object | None) -> str | None:
    return None if obj is None else f"{obj['metadata']['name']}@{obj['metadata']['resourceVersion']}"


@asynccontextmanager
async def running(server: Server, clock: VirtualClock) -> AsyncIterator[InformerFactory]:
    factory = InformerFactory(Client(InProcessTransport(server.app)), clock, random.Random(1))
    task = asyncio.create_task(factory.run())
    try:
        yield factory
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_waits_and_tries_again_while_the_server_is_away(server: Server, clock: VirtualClock) -> None:
    server.faults = [status.ServiceUnavailable("starting"), status.InternalError("broken")]
    server.set(pod("a", 1), tell=False)
    async with running(server, clock) as factory:
        informer = factory.of(PODS)
        await clock.advance(0)
        assert not informer.synced.is_set()
        await clock.advance(5)
        assert informer.synced.is_set()
        assert informer.get("default/a") is not None


async def test_a_gap_is_closed_by_listing_again_and_handlers_hear_the_difference(
    server: Server, clock: VirtualClock
) -> None:
    for name in ("gone", "same", "changed"):
        server.set(pod(name, 5), tell=False)
    async with running(server, clock) as factory:
        informer = factory.of(PODS)
        heard = Heard()
        informer.subscribe(heard)
        await clock.advance(0)
        heard.clear()
        server.set(pod("gone", 6), "DELETED", tell=False)
        server.set(pod("changed", 7), tell=False)
        server.set(pod("new", 8), tell=False)
        server.send({"type": "ERROR", "object": status.Expired("too old").to_object()})
        await clock.advance(1)
        assert sorted(heard, key=str) == [("changed@5", "changed@7"), ("gone@5", None), (None, "new@8")]
        assert [request.query for request in server.requests if "watch" not in request.query] == [
            "resourceVersion=0",
            "",
        ]


async def test_follows_events_in_order_and_keeps_indexes_right(server: Server, clock: VirtualClock) -> None:
    server.set(pod("a", 1, app="x"), tell=False)
    async with running(server, clock) as factory:
        informer = factory.of(PODS, indexers={"app": lambda obj: [obj["metadata"]["labels"].get("app", "")]})
        heard = Heard()
        await clock.advance(0)
        informer.subscribe(heard)
        server.set(pod("b", 2, app="x"))
        server.set(pod("a", 3, app="y"), "MODIFIED")
        server.set(pod("b", 4, app="x"), "DELETED")
        await clock.advance(0)
        assert heard == [(None, "a@1"), (None, "b@2"), ("a@1", "a@3"), ("b@4", None)]
        assert informer.by_index("app", "x") == ()
        assert [obj["metadata"]["name"] for obj in informer.by_index("app", "y")] == ["a"]
        assert "managedFields" not in informer.get("default/a")["metadata"]  # type: ignore[index]


async def test_a_watch_that_ends_goes_on_from_the_last_bookmark(server: Server, clock: VirtualClock) -> None:
    async with running(server, clock) as factory:
        factory.of(PODS)
        await clock.advance(0)
        server.send({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "90"}}})
        server.events.put_nowait(None)
        await clock.advance(1)
        assert "resourceVersion=90" in server.requests[-1].query


async def test_an_object_created_anew_under_its_name_is_two_objects(server: Server, clock: VirtualClock) -> None:
    server.set(pod("a", 1), tell=False)
    async with running(server, clock) as factory:
        informer = factory.of(PODS)
        await clock.advance(0)
        heard = Heard()
        informer.subscribe(heard)
        again = pod("a", 9)
        again["metadata"]["uid"] = "another"
        server.set(again, "MODIFIED")
        await clock.advance(0)
        assert heard == [(None, "a@1"), ("a@1", None), (None, "a@9")]


async def test_a_failing_handler_stops_neither_the_others_nor_the_informer(server: Server, clock: VirtualClock) -> None:
    def broken(old: Object | None, new: Object | None) -> None:
        raise RuntimeError("a fault in a handler")

    async with running(server, clock) as factory:
        informer = factory.of(PODS)
        informer.subscribe(broken)
        heard = Heard()
        informer.subscribe(heard)
        await clock.advance(0)
        server.set(pod("a", 2))
        server.set(pod("b", 3))
        await clock.advance(0)
        assert heard == [(None, "a@2"), (None, "b@3")]


async def test_one_informer_for_all_who_ask_for_the_same(server: Server, clock: VirtualClock) -> None:
    async with running(server, clock) as factory:
        assert factory.of(PODS) is factory.of(PODS)
        assert factory.of(PODS) is not factory.of(PODS, namespace="kube-system")


async def test_when_the_server_is_back_for_one_it_is_back_for_all(server: Server, clock: VirtualClock) -> None:
    async with running(server, clock) as factory:
        pods, nodes = factory.of(PODS), factory.of(NODES)
        server.faults = [status.ServiceUnavailable("down") for _ in range(200)]
        await clock.advance(100)
        server.faults = []
        while not (pods.synced.is_set() or nodes.synced.is_set()):
            await clock.advance(0.1)
        await clock.advance(0)
        assert pods.synced.is_set()
        assert nodes.synced.is_set()


async def test_watches_that_the_server_ends_go_on_without_listing_again() -> None:
    async with api_server() as api:
        asked: list[str] = []

        async def app(request: Request) -> Response:
            asked.append(request.query)
            return await api.app(request)

        factory = InformerFactory(Client(InProcessTransport(app)), api.clock, random.Random(1))
        informer = factory.of(NODES)
        task = asyncio.create_task(factory.run())
        await api.clock.advance(3600)
        await api.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        await api.clock.advance(0)
        assert informer.get("n1") is not None
        lists = [query for query in asked if "watch" not in query]
        assert len(lists) == 1
        assert 6 <= len(asked) - 1 <= 12
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
