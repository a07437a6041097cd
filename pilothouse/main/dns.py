"""`pilothouse dns`: the cluster's DNS server on this machine as a process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pilothouse.client.informer import InformerFactory
from pilothouse.dns.forward import upstreams_of
from pilothouse.dns.server import DnsOptions, DnsServer
from pilothouse.kit.clock import SystemClock
from pilothouse.main.cluster import default_node_name, node_address
from pilothouse.main.component import Component
from pilothouse.main.connect import KUBECONFIG, connect
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values, boolean, ip_address, port

FLAGS = (
    KUBECONFIG,
    Flag("hostname-override", "", "name of this machine's node (default: its host name)"),
    Flag("bind-address", "", "address to listen on (default: that of the default route)"),
    Flag("port", DnsOptions("", "").port, "port to listen on, UDP and TCP", port),
    Flag("cluster-domain", "cluster.local", "domain of the cluster's names"),
    Flag("cluster-dns", "10.96.0.10", "address of the kube-dns Service", ip_address),
    Flag("resolv-conf", "/etc/resolv.conf", "where the resolvers for all other names are listed"),
    Flag("register", True, "make the kube-dns Service lead here", boolean),
)


async def run(values: Values) -> None:
    clock = SystemClock()
    client = connect(values.kubeconfig, "dns")
    address = values.bind_address or node_address()
    try:
        resolv_conf = Path(values.resolv_conf).read_text()
    except OSError as error:
        raise Fatal(f"--resolv-conf {values.resolv_conf} cannot be read: {error.strerror}") from error
    informers = InformerFactory(client, clock)
    server = DnsServer(
        client,
        informers,
        DnsOptions(
            node_name=values.hostname_override or default_node_name(),
            address=address,
            port=values.port,
            domain=values.cluster_domain,
            cluster_ip=values.cluster_dns,
            upstreams=upstreams_of(resolv_conf, (address, values.cluster_dns)),
            is_registered=values.register,
        ),
        clock,
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(server.run())
    except* OSError as failures:
        reasons = "; ".join(str(error) for error in failures.exceptions)
        raise Fatal(f"cannot listen on {address}:{values.port}: {reasons}") from failures


COMPONENT = Component("dns", FLAGS, run)
