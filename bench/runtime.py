"""The container runtime alone: what a Pod costs before any Kubernetes."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from bench import objects


async def floor(address: Path, count: int) -> tuple[float, float]:
    """Median seconds to start a sandbox with one container, and to stop and remove both, over CRI, one after another."""
    import cri_api
    import grpc.aio

    started, stopped = [], []
    async with grpc.aio.insecure_channel(f"unix://{address}") as channel:
        stub = cri_api.RuntimeServiceStub(channel)
        for number in range(count):
            began = time.monotonic()
            sandbox, container = await _start(cri_api, stub, f"floor-{number}")
            started.append(time.monotonic() - began)
            began = time.monotonic()
            await stub.StopContainer(cri_api.StopContainerRequest(container_id=container, timeout=5))
            await stub.StopPodSandbox(cri_api.StopPodSandboxRequest(pod_sandbox_id=sandbox))
            await stub.RemovePodSandbox(cri_api.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
            stopped.append(time.monotonic() - began)
    return statistics.median(started), statistics.median(stopped)


async def _start(cri_api: Any, stub: Any, name: str) -> tuple[str, str]:
    sandbox_config = cri_api.PodSandboxConfig(
        metadata=cri_api.PodSandboxMetadata(name=name, uid=name, namespace="bench", attempt=0),
        linux=cri_api.LinuxPodSandboxConfig(),
    )
    answer = await stub.RunPodSandbox(cri_api.RunPodSandboxRequest(config=sandbox_config))
    sandbox = answer.pod_sandbox_id
    container_config = cri_api.ContainerConfig(
        metadata=cri_api.ContainerMetadata(name="c", attempt=0),
        image=cri_api.ImageSpec(image=objects.IMAGE),
        command=objects.sleeping_pod(name, "")["spec"]["containers"][0]["command"],
        linux=cri_api.LinuxContainerConfig(),
    )
    request = cri_api.CreateContainerRequest(
        pod_sandbox_id=sandbox, config=container_config, sandbox_config=sandbox_config
    )
    container = (await stub.CreateContainer(request)).container_id
    await stub.StartContainer(cri_api.StartContainerRequest(container_id=container))
    return sandbox, container
