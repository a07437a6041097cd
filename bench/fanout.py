"""What an event costs the API server for each watcher that gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bench import objects
from bench.cluster import api_server
from bench.http import Server, Stream, encode
from bench.report import Measurement

WATCHERS = 200
EVENTS = 500
_CONFIGMAPS = "/api/v1/namespaces/bench/configmaps"


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    """The same writes without watchers and with them; the difference is the watchers'."""
    async with api_server() as components:
        server = components.server
        await server.request("POST", "/api/v1/namespaces", objects.namespace("bench"))
        load = await server.load(4)
        watches: list[Stream] = []
        try:
            await load.run(_writes("warm"))
            before = components.cpu_s("apiserver")
            await load.run(_writes("alone"))
            alone_s = components.cpu_s("apiserver") - before
            received = _Count(WATCHERS * EVENTS)
            path = f"{_CONFIGMAPS}?watch=1&resourceVersion={await _revision(server)}"
            watches = [await server.watch(path, received.add) for _ in range(WATCHERS)]
            before = components.cpu_s("apiserver")
            await load.run(_writes("watched"))
            async with asyncio.timeout(60):
                await received.all.wait()
            watched_s = components.cpu_s("apiserver") - before
        finally:
            for watch in watches:
                watch.close()
            load.close()
        yield Measurement("fanout.event", (watched_s - alone_s) / (WATCHERS * EVENTS) * 1e6)


async def _revision(server: Server) -> str:
    listed = await server.request("GET", f"{_CONFIGMAPS}?limit=1")
    return str(listed["metadata"]["resourceVersion"])


def _writes(prefix: str) -> list[bytes]:
    return [encode("POST", _CONFIGMAPS, objects.configmap(f"{prefix}-{number}")) for number in range(EVENTS)]


class _Count:
    """Set when `wanted` lines have come."""

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.all = asyncio.Event()

    def add(self, line: bytes) -> None:
        self._left -= 1
        if not self._left:
            self.all.set()
