"""Pods made straight through the CRI, for tests of what is around them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.kit.clock import SystemClock
from pilothouse.main.runtime import host
from pilothouse.main.runtime.containerd import Containerd, ContainerdOptions
from pilothouse.main.runtime.images import File, ImageConfig, pack
from pilothouse.main.runtime.network import NetworkOptions, NodeNetwork

BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "sleep", "cat", "httpd", "wget", "nslookup")


@dataclass(frozen=True, slots=True)
class Node:
    """A containerd and a network of the test's own. Addresses are 10.251.`number`.0/24."""

    containerd: Containerd
    options: ContainerdOptions
    network: NodeNetwork
    network_options: NetworkOptions
    number: int


@asynccontextmanager
async def running_node(directory: Path) -> AsyncIterator[Node]:
    number = os.getpid() % 250
    network_options = NetworkOptions(
        configuration=directory / "data/cni/net.d",
        state=directory / "run/cni",
        pod_cidrs=(f"10.251.{number}.0/24",),
        cluster_cidrs=("10.251.0.0/16",),
        name=f"phtest{os.getpid()}",
        bridge=f"pht{os.getpid()}",
        nft_table=f"phtest-{os.getpid()}",
    )
    options = ContainerdOptions.under(directory / "data", directory / "run", directory / "log")
    containerd, network = Containerd(options, SystemClock()), NodeNetwork(network_options)
    host.share_mounts()
    host.apply_settings()
    try:
        await network.set_up()
        await containerd.start()
        yield Node(containerd, options, network, network_options, number)
    finally:
        await containerd.clean()
        await network.clean()


def busybox_archive(directory: Path) -> Path:
    """`busybox:test`, packed from the machine's own busybox."""
    content = BUSYBOX.resolve().read_bytes()
    applets = {f"bin/{name}": File(link="busybox") for name in APPLETS}
    files = {"bin/busybox": File(content, 0o755), "tmp": File(mode=0o1777), **applets}
    file = directory / "busybox.tar"
    file.write_bytes(pack(["busybox:test"], files, ImageConfig(command=["sh"])))
    return file


@dataclass(frozen=True, slots=True)
class PodSettings:
    command: Sequence[str]
    name: str = "p"
    host_port: int = 0
    host_pid: bool = False
    dns_server: str = ""
    searches: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Pod:
    sandbox: str
    container: str
    address: str


@asynccontextmanager
async def runtime_of(node: Node) -> AsyncIterator[Any]:
    """The CRI's stub, once the runtime and its network are ready."""
    import cri_api
    import grpc.aio

    async with grpc.aio.insecure_channel(f"unix://{node.options.address}") as channel:
        runtime = cri_api.RuntimeServiceStub(channel)
        async with asyncio.timeout(10):
            while True:
                try:
                    status = (await runtime.Status(cri_api.StatusRequest())).status
                except grpc.aio.AioRpcError:
                    continue
                if all(condition.status for condition in status.conditions):
                    break
        yield runtime


async def run_pod(node: Node, settings: PodSettings) -> Pod:
    """A sandbox with one running container of `busybox:test`."""
    import cri_api

    async with runtime_of(node) as runtime:
        pid = cri_api.NODE if settings.host_pid else cri_api.POD
        security = cri_api.LinuxSandboxSecurityContext(namespace_options=cri_api.NamespaceOption(pid=pid))
        ports = [cri_api.PortMapping(container_port=80, host_port=settings.host_port)] if settings.host_port else []
        sandbox_config = cri_api.PodSandboxConfig(
            metadata=cri_api.PodSandboxMetadata(name=settings.name, uid=settings.name, namespace="default", attempt=0),
            log_directory=str(node.options.root),
            linux=cri_api.LinuxPodSandboxConfig(
                cgroup_parent=f"/kubepods-{os.getpid()}/pod1", security_context=security
            ),
            port_mappings=ports,
        )
        if settings.dns_server:
            dns = cri_api.DNSConfig(servers=[settings.dns_server], searches=settings.searches, options=["ndots:5"])
            sandbox_config.dns_config.CopyFrom(dns)
        sandbox = (await runtime.RunPodSandbox(cri_api.RunPodSandboxRequest(config=sandbox_config))).pod_sandbox_id
        options = cri_api.NamespaceOption(pid=cri_api.NODE if settings.host_pid else cri_api.CONTAINER)
        container_config = cri_api.ContainerConfig(
            metadata=cri_api.ContainerMetadata(name="c", attempt=0),
            image=cri_api.ImageSpec(image="busybox:test"),
            command=settings.command,
            log_path=f"{settings.name}.log",
            linux=cri_api.LinuxContainerConfig(
                security_context=cri_api.LinuxContainerSecurityContext(namespace_options=options)
            ),
        )
        request = cri_api.CreateContainerRequest(
            pod_sandbox_id=sandbox, config=container_config, sandbox_config=sandbox_config
        )
        container = (await runtime.CreateContainer(request)).container_id
        await runtime.StartContainer(cri_api.StartContainerRequest(container_id=container))
        status = await runtime.PodSandboxStatus(cri_api.PodSandboxStatusRequest(pod_sandbox_id=sandbox))
        return Pod(sandbox, container, status.status.network.ip)


async def is_running(node: Node, container: str) -> bool:
    import cri_api

    async with runtime_of(node) as runtime:
        answer = await runtime.ContainerStatus(cri_api.ContainerStatusRequest(container_id=container))
        return bool(answer.status.state == cri_api.CONTAINER_RUNNING)


async def execute(node: Node, container: str, command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command in the container."""
    import cri_api

    async with runtime_of(node) as runtime:
        request = cri_api.ExecSyncRequest(container_id=container, cmd=command, timeout=10)
        answer = await runtime.ExecSync(request)
        return answer.exit_code, (answer.stdout + answer.stderr).decode()
