"""Scheduling end to end: Pods are created, and each is counted when a watcher has seen it bound.

An API server and a scheduler share the machine with the client; nodes are objects only, which no kubelet stands behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bench import objects
from bench.cluster import Components, api_server
from bench.http import Load, encode
from bench.report import Measurement

NODES = 1000
PODS = 3000
CONNECTIONS = 16
TIMEOUT_S = 120.0
_SELECTOR = {"matchLabels": {"app": "bench"}}
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "spread": {
        "topologySpreadConstraints": [
            {
                "maxSkew": 5,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": _SELECTOR,
            }
        ]
    },
    "affinity": {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": _SELECTOR},
                    }
                ]
            }
        }
    },
}


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    for name, spec in SCENARIOS.items():
        async with api_server() as components:
            load = await components.server.load(CONNECTIONS)
            try:
                yield await _scenario(f"scheduling.{name}", components, load, spec)
            finally:
                load.close()


async def _scenario(name: str, components: Components, load: Load, spec: Mapping[str, Any]) -> Measurement:
    server = components.server
    await server.request("POST", "/api/v1/namespaces", objects.namespace("bench"))
    await server.request("POST", "/api/v1/namespaces/bench/serviceaccounts", objects.service_account())
    await load.run(encode("POST", "/api/v1/nodes", objects.node(number)) for number in range(NODES))
    # Admission taints new nodes until the node controller has seen them; here there is none.
    untaint = {"spec": {"taints": None}}
    await load.run(
        encode(
            "PATCH",
            f"/api/v1/nodes/{objects.node(number)['metadata']['name']}",
            untaint,
            "application/merge-patch+json",
        )
        for number in range(NODES)
    )
    components.start_scheduler()
    bound = _Bound()
    watch = await server.watch("/api/v1/namespaces/bench/pods?watch=1", bound.see)
    try:
        # One Pod shows that the scheduler has begun; it is not counted.
        await load.run(_creations("first", 1, spec))
        await bound.until(1)
        creations = _creations("p", PODS, spec)
        cpu_s = {part: components.cpu_s(part) for part in ("apiserver", "scheduler")}
        began = time.monotonic()
        await load.run(creations)
        created_s = time.monotonic() - began
        await bound.until(1 + PODS)
        elapsed_s = time.monotonic() - began
    finally:
        watch.close()
    used = ", ".join(f"{part} {(components.cpu_s(part) - before) / PODS * 1000:.2f}" for part, before in cpu_s.items())
    return Measurement(name, PODS / elapsed_s, f"created in {created_s:.1f} s; ms CPU a Pod: {used}")


def _creations(prefix: str, count: int, spec: Mapping[str, Any]) -> list[bytes]:
    pods = "/api/v1/namespaces/bench/pods"
    return [encode("POST", pods, objects.pod(f"{prefix}-{number}", spec=spec)) for number in range(count)]


class _Bound:
    """Counts Pods that have a node. It does not decode events: it shares the machine with what it measures."""

    def __init__(self) -> None:
        self._count = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def see(self, line: bytes) -> None:
        if b'"nodeName":"' in line and line.startswith(b'{"type":"MODIFIED"'):
            self._count += 1
            if self._count == self._wanted:
                self._reached.set()

    async def until(self, wanted: int) -> None:
        self._wanted = wanted
        self._reached.clear()
        if self._count < wanted:
            async with asyncio.timeout(TIMEOUT_S):
                await self._reached.wait()
