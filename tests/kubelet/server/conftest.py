"""A kubelet on the simulated runtime with its server, reached over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.meta import UID
from pilothouse.client.client import Client
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.client import Answer, HttpPool
from pilothouse.kit.http.server import Server
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import ContainerUsage, FilesystemUsage
from pilothouse.kubelet.runtime.runtime import Stream
from pilothouse.kubelet.server.server import KubeletServer, ServerOptions
from tests.kubelet.server.reviews import Reviews
from tests.kubelet.test_kubelet import NODE, Bench


class ServedBench(Bench):
    """`stream_to` is where the runtime says that it streams; `streams` records what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.stream_to = ""
        self.streams: list[tuple[Any, ...]] = []
        self.usages: Sequence[ContainerUsage] = ()
        self.runtime_problem = ""
        self.runtime.stream_url = self.stream_url  # type: ignore[method-assign]
        self.runtime.usage = self.usage  # type: ignore[method-assign]
        self.runtime.image_filesystem = self.image_filesystem  # type: ignore[method-assign]
        options = ServerOptions(Path("/nonexistent"), Path("/nonexistent"), anonymous_auth=True, always_allow=True)
        self.reviews = Reviews()
        self.server = KubeletServer(self.kubelet, Client(self.reviews), options, self.clock)
        self.http = Server(self.server.guarded, host="127.0.0.1", port=0, ssl_context=None, clock=SystemClock())
        self.read_only = Server(self.server.read_only, host="127.0.0.1", port=0, ssl_context=None, clock=SystemClock())

    async def stream_url(self, stream: Stream, target_id: str, **asked: Any) -> str:
        if self.runtime_problem:
            raise RuntimeFailure(self.runtime_problem)
        self.streams.append((stream, target_id, asked))
        return self.stream_to

    async def usage(self, pod_uid: Any = None) -> Sequence[ContainerUsage]:
        return self.usages

    async def image_filesystem(self) -> FilesystemUsage:
        return FilesystemUsage("/", 1000, 10, 0.0)

    async def ask(self, path: str, method: str = "GET", *, port: int | None = None, **headers: str) -> Answer:
        pool = HttpPool("127.0.0.1", port or self.http.port, timeout_s=10.0)
        try:
            return await pool.request(method, path, headers=headers)
        finally:
            await pool.close()

    def write_log(self, path: str, log: Path, text: bytes) -> None:
        """Give the container of the pod at `path` a log."""
        log.write_bytes(text)
        known = self.kubelet.record(UID(self.api.objects[path]["metadata"]["uid"]))
        assert known is not None
        changed = replace(known, containers=tuple(replace(c, log_path=str(log)) for c in known.containers))
        self.kubelet.record = lambda uid: changed  # type: ignore[method-assign]


@pytest.fixture
async def served() -> AsyncIterator[ServedBench]:
    made = ServedBench()
    try:
        await made.until(lambda: NODE in made.api.objects)
        await made.advance(0.1)
        made.api.put(NODE, {**made.api.objects[NODE], "spec": {"podCIDR": "10.244.0.0/24"}})
        await made.advance(0.1)
        await made.http.start()
        await made.read_only.start()
        yield made
    finally:
        await asyncio.gather(made.http.stop(), made.read_only.stop())
        await made.stop()
