"""The process of `pilothouse up` that is the node: container runtime, kubelet, Service proxy and DNS; or the simulated nodes."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.api.gvr import SERVICES
from pilothouse.api.meta import NodeName
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import Clock, SystemClock
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.main import credentials, kubelet_parts
from pilothouse.main.component import Component, supervised_paths
from pilothouse.main.connect import connect
from pilothouse.main.failure import Fatal, sentences
from pilothouse.main.flags import Values
from pilothouse.main.paths import Paths
from pilothouse.main.settings import Settings, load

if TYPE_CHECKING:
    from pilothouse.kubelet.server.server import ServerOptions

SIMULATED_PORT = 10250
"""What simulated nodes say their kubelet's port is; nothing listens there."""


async def run(values: Values) -> None:
    paths = supervised_paths()
    settings = load(paths)
    assert settings is not None, "the supervisor starts nothing without settings"
    clock = SystemClock()
    if settings.simulated:
        await _run_simulated(paths, settings, clock)
    else:
        await _run_real(paths, settings, clock)


async def _run_simulated(paths: Paths, settings: Settings, clock: Clock) -> None:
    async with asyncio.TaskGroup() as group:
        for name in credentials.node_names(settings):
            client = connect(str(credentials.kubeconfig_path(paths, credentials.node_client(name))), "kubelet")
            options = KubeletOptions(
                NodeName(name), (settings.node_ip,), root_dir=paths.kubelet / name, port=SIMULATED_PORT
            )
            kubelet = kubelet_parts.simulated(client, options, clock, random.Random())
            group.create_task(kubelet.run(), name=f"kubelet {name}")


async def _run_real(paths: Paths, settings: Settings, clock: Clock) -> None:
    from pilothouse.dns.forward import upstreams_of
    from pilothouse.dns.server import DnsOptions, DnsServer
    from pilothouse.kubelet.server.server import KubeletServer, PortTaken
    from pilothouse.main.node_host import NodeHost, PodNetwork
    from pilothouse.main.runtime.containerd import ContainerdError
    from pilothouse.main.runtime.host import CgroupDriver, HostError, cgroup_driver
    from pilothouse.main.runtime.images import ImageError
    from pilothouse.proxy.backends.libnftables import NftError
    from pilothouse.proxy.proxy import Proxy, ProxyOptions

    host = NodeHost(paths, settings, clock)
    name = settings.node_name
    proxy_client = connect(str(credentials.kubeconfig_path(paths, credentials.PROXY)), "proxy")
    dns_client = connect(str(credentials.kubeconfig_path(paths, credentials.DNS)), "dns")
    node_client = connect(str(credentials.kubeconfig_path(paths, credentials.node_client(name))), "kubelet")
    network = InformerFactory(proxy_client, clock)
    kubelet = kubelet_parts.real(
        node_client,
        network.of(SERVICES),
        f"unix://{host.containerd_options.address}",
        cgroup_driver() is CgroupDriver.SYSTEMD,
        KubeletOptions(
            NodeName(name),
            (settings.node_ip,),
            root_dir=paths.kubelet,
            pod_logs_dir=paths.pod_logs,
            container_logs_dir=paths.container_logs,
            cluster_domain=settings.domain,
            cluster_dns=(settings.dns_ip,),
            port=settings.kubelet_port,
        ),
        clock,
    )
    kubelet_server = KubeletServer(kubelet, node_client, server_options(paths, settings), clock)
    proxy = Proxy(
        network,
        ProxyOptions(
            name,
            node_addresses=(settings.node_ip,),
            cluster_cidrs=(settings.pod_cidr,),
            service_cidrs=(settings.service_cidr,),
        ),
        clock,
    )
    upstreams = upstreams_of(Path("/etc/resolv.conf").read_text(), (settings.node_ip, settings.dns_ip))
    dns = DnsServer(
        dns_client,
        network,
        DnsOptions(name, settings.node_ip, domain=settings.domain, cluster_ip=settings.dns_ip, upstreams=upstreams),
        clock,
    )
    pod_network = PodNetwork(host, network, name)
    try:
        host.prepare()
        async with asyncio.TaskGroup() as group:
            for work in (
                host.containerd.run,
                network.run,
                kubelet.run,
                kubelet_server.run,
                proxy.run,
                dns.run,
                pod_network.run,
            ):
                group.create_task(work(), name=work.__qualname__)
    except* (HostError, ContainerdError, ImageError, NftError, PortTaken) as failures:
        raise Fatal(sentences(failures)) from failures


def server_options(paths: Paths, settings: Settings) -> ServerOptions:
    """How the kubelet of this machine's node is asked."""
    from pilothouse.kubelet.server.server import ServerOptions

    certificate = credentials.node_server(settings.node_name, settings)
    return ServerOptions(
        certificate=paths.pki / f"{certificate.name}.crt",
        key=paths.pki / f"{certificate.name}.key",
        client_ca=paths.pki / "ca.crt",
        port=settings.kubelet_port,
        read_only_port=settings.read_only_port,
    )


COMPONENT = Component("node", (), run)
