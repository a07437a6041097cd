"""A real API server in this process, controllers on it, and a kubelet that pretends: for tests from end to end in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import GVR, NAMESPACES, NODES, PODS
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.meta import Object
from pilothouse.api.user import User
from pilothouse.api.views.pod import PodView
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.attributes import AdmitAll
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.route import RequestInfo
from pilothouse.client.client import Client
from pilothouse.client.informer import InformerFactory
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.controllers.runtime import Context, ControllerRuntime, Options, select
from pilothouse.controllers.table import CONTROLLERS
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import App, Request
from pilothouse.kit.tasks import run_all
from pilothouse.store.cachers import Cachers
from pilothouse.store.memory import MemoryStore


class Trusting:
    """Everybody is the administrator."""

    async def authenticate(self, request: Request) -> User:
        return User("admin", "", ("system:masters",), {})

    async def authorize(self, user: User, info: RequestInfo, annotations: dict[str, str] | None = None) -> None:
        return None


class Cluster:
    """What a test has in hand."""

    def __init__(
        self, client: Client, informers: InformerFactory, clock: VirtualClock, runtime: ControllerRuntime
    ) -> None:
        self.client = client
        self.informers = informers
        self.clock = clock
        self.runtime = runtime
        self.kubelet_runs = True

    async def create(self, gvr: GVR, name: str, *, namespace: str = "", **fields: Any) -> Object:
        metadata = {"name": name, **fields.pop("metadata", {})}
        if namespace:
            metadata["namespace"] = namespace
        return await self.client.create(
            gvr, {"apiVersion": gvr.api_version, "kind": gvr.kind, "metadata": metadata, **fields}
        )

    async def list(self, gvr: GVR, namespace: str = "", **options: Any) -> Sequence[Object]:
        return (await self.client.list(gvr, namespace, **options)).items

    async def names(self, gvr: GVR, namespace: str = "") -> list[str]:
        return sorted(meta.name_of(obj) for obj in await self.list(gvr, namespace))

    async def until(self, condition: Callable[[], Any], *, within_s: float = 60.0, step_s: float = 0.25) -> None:
        """Turn the clock until `condition` (which may be a coroutine function) holds."""
        deadline = self.clock.monotonic() + within_s
        while True:
            for _ in range(10):
                await self.settle()
                holds = condition()
                if asyncio.iscoroutine(holds):
                    holds = await holds
                if holds:
                    return
            assert self.clock.monotonic() < deadline, f"not within {within_s} s"
            await self.clock.advance(step_s)

    async def settle(self) -> None:
        """Let tasks run at this moment."""
        await self.clock.advance(0, settle_turns=100)


class Kubelet:
    """Makes every pod that is on no particular node run on `node`, and lets deleted ones go."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._pods = cluster.informers.of(PODS)
        self._addresses = iter(range(2, 250_000))
        self._todo: asyncio.Queue[str] = asyncio.Queue()
        self._pods.subscribe(lambda old, new: self._todo.put_nowait(meta.key_of(new)) if new is not None else None)

    async def run(self) -> None:
        while True:
            pod = self._pods.get(await self._todo.get())
            if pod is None or not self.cluster.kubelet_runs:
                continue
            try:
                await self._sync(pod)
            except (status.NotFound, status.Conflict):
                continue

    async def _sync(self, pod: Object) -> None:
        client, view = self.cluster.client, PodView(pod)
        if view.is_deleting:
            await client.delete(PODS, view.namespace, view.name, grace_period_s=0, uid=view.uid)
        elif not view.phase or view.phase == "Pending":
            number = next(self._addresses)
            address = f"10.244.{number // 250}.{number % 250 + 2}"
            now = meta.format_time(self.cluster.clock.now())
            await client.patch(
                PODS,
                view.namespace,
                view.name,
                {
                    "status": {
                        "phase": "Running",
                        "podIP": address,
                        "podIPs": [{"ip": address}],
                        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                    }
                },
                subresource="status",
            )


@dataclass(frozen=True)
class Api:
    """An API server in this process."""

    app: App
    client: Client
    clock: VirtualClock


@asynccontextmanager
async def api_server() -> AsyncIterator[Api]:
    """The real one over a store in memory, with every built-in kind and an administrator's client."""
    clock, rng = VirtualClock(), random.Random(1)
    store = MemoryStore(clock)
    trusting = Trusting()
    discovery = Discovery(RESOURCES, server_address="127.0.0.1:6443")
    server = ApiServer(
        Cachers(store, clock),
        RESOURCES,
        authenticator=trusting,
        authorizer=trusting,
        admission=AdmitAll(),
        clock=clock,
        rng=rng,
        paths=dict.fromkeys(discovery.paths, discovery.serve),
    )
    try:
        yield Api(server.handle, Client(InProcessTransport(server.handle)), clock)
    finally:
        server.cachers.close()
        await store.close()


@asynccontextmanager
async def running(*names: str, options: Options | None = None) -> AsyncIterator[Cluster]:
    """A cluster with the controllers of these names (all by default), the namespace `default` and one node `n1`."""
    async with api_server() as server:
        rng = random.Random(2)
        informers = InformerFactory(server.client, server.clock, rng)
        context = Context(server.client, informers, server.clock, rng, options or Options())
        runtime = ControllerRuntime(context, select(CONTROLLERS, names or ("*",)))
        cluster = Cluster(server.client, informers, server.clock, runtime)
        kubelet = Kubelet(cluster)
        await cluster.create(NAMESPACES, "default")
        await cluster.create(NODES, "n1")
        task = asyncio.create_task(run_all(runtime.run, kubelet.run))
        try:
            yield cluster
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
