"""Pods in containers: how long until one is Ready, until it is gone, and until fifty are; and what of that is the runtime's."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench import objects, runtime
from bench.cluster import Cluster, whole_cluster
from bench.http import Load, encode
from bench.memory import until_service_account
from bench.report import Measurement
from pilothouse.main.runtime.images import File, ImageConfig, pack

ONE_BY_ONE = 20
AT_ONCE = 50
CONNECTIONS = 8
TIMEOUT_S = 60.0
_BUSYBOX = Path("/bin/busybox")
_PODS = "/api/v1/namespaces/default/pods"


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    async with whole_cluster(simulated=0) as cluster:
        await cluster.up()
        await cluster.load_image(_image(cluster.directory))
        server, node_name = cluster.server, cluster.node_names[0]
        await until_service_account(server, "default")
        states = _States()
        watch = await server.watch(f"{_PODS}?watch=1", states.see)
        load = await server.load(CONNECTIONS)
        try:
            # The first pod pays for what is imported and set up once.
            await _one(load, states, "warm", node_name)
            times = [await _one(load, states, f"one-{number}", node_name) for number in range(ONE_BY_ONE)]
            ready, gone = [ready for ready, _ in times], [gone for _, gone in times]
            yield Measurement("pods.ready", statistics.median(ready), f"{min(ready):.3f} to {max(ready):.3f}")
            yield Measurement("pods.gone", statistics.median(gone), f"{min(gone):.3f} to {max(gone):.3f}")
            yield await _many(load, states, node_name)
        finally:
            load.close()
            watch.close()
        started, stopped = await runtime.floor(_address(cluster), ONE_BY_ONE)
        yield Measurement("pods.runtime", started)
        yield Measurement("pods.runtime_stop", stopped)


async def _one(load: Load, states: _States, name: str, node_name: str) -> tuple[float, float]:
    began = time.monotonic()
    await load.run([encode("POST", _PODS, objects.sleeping_pod(name, node_name))])
    await states.until(name, "ready")
    ready_s = time.monotonic() - began
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await load.run([encode("DELETE", f"{_PODS}/{name}")])
    await states.until(name, "gone")
    gone_s = time.monotonic() - began
    await asyncio.sleep(0.1)
    return ready_s, gone_s


async def _many(load: Load, states: _States, node_name: str) -> Measurement:
    names = [f"many-{number}" for number in range(AT_ONCE)]
    began = time.monotonic()
    await load.run([encode("POST", _PODS, objects.sleeping_pod(name, node_name)) for name in names])
    await asyncio.gather(*(states.until(name, "ready") for name in names))
    ready_s = time.monotonic() - began
    began = time.monotonic()
    await load.run([encode("DELETE", f"{_PODS}/{name}") for name in names])
    await asyncio.gather(*(states.until(name, "gone") for name in names))
    return Measurement("pods.many", ready_s, f"all gone in {time.monotonic() - began:.1f} s")


def _address(cluster: Cluster) -> Path:
    from pilothouse.main.node_host import NodeHost

    return NodeHost(cluster.paths, cluster.settings).containerd_options.address


def _image(directory: Path) -> Path:
    applets = {f"bin/{name}": File(link="busybox") for name in ("sh", "sleep")}
    files = {"bin/busybox": File(_BUSYBOX.resolve().read_bytes(), 0o755), "tmp": File(mode=0o1777), **applets}
    file = directory / "image.tar"
    file.write_bytes(pack([objects.IMAGE], files, ImageConfig(command=["sh"])))
    return file


class _States:
    """What a watch says of each Pod: `ready`, `gone` or neither."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._waiting: dict[tuple[str, str], asyncio.Event] = {}

    def see(self, line: bytes) -> None:
        event = json.loads(line)
        pod = event["object"]
        name = pod["metadata"].get("name", "")
        if event["type"] == "DELETED":
            state = "gone"
        else:
            conditions = pod.get("status", {}).get("conditions") or ()
            is_ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
            state = "ready" if is_ready else ""
        self._states[name] = state
        if (waiting := self._waiting.pop((name, state), None)) is not None:
            waiting.set()

    async def until(self, name: str, state: str) -> None:
        if self._states.get(name) == state:
            return
        waiting = self._waiting[name, state] = asyncio.Event()
        async with asyncio.timeout(TIMEOUT_S):
            await waiting.wait()
