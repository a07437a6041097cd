"""`pilothouse proxy`: the Service proxy of this machine as a process."""

from __future__ import annotations

import asyncio

from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import SystemClock
from pilothouse.main.cluster import default_node_name, node_address
from pilothouse.main.component import Component
from pilothouse.main.connect import KUBECONFIG, connect
from pilothouse.main.failure import Fatal, sentences
from pilothouse.main.flags import Flag, Values, boolean, duration, listed, one_of, port
from pilothouse.proxy.backends.libnftables import NftError
from pilothouse.proxy.proxy import Proxy, ProxyOptions

_DEFAULTS = ProxyOptions("")

FLAGS = (
    KUBECONFIG,
    Flag("hostname-override", "", "name of this machine's node (default: its host name)"),
    Flag("bind-address", "", "address of this machine's node (default: that of its default route)"),
    Flag("proxy-mode", "nftables", "how Services are made: nftables is what there is", one_of("nftables")),
    Flag("cluster-cidr", _DEFAULTS.cluster_cidrs, "range of the pods' addresses", listed),
    Flag("service-cluster-ip-range", _DEFAULTS.service_cidrs, "range of the Services' addresses", listed),
    Flag(
        "nodeport-addresses", (), "addresses or ranges on which node ports answer (default: all of the node's)", listed
    ),
    Flag("masquerade-all", False, "let all traffic to Services come from the node's address", boolean),
    Flag("nftables-min-sync-period", _DEFAULTS.min_sync_period_s, "least time between two updates", duration),
    Flag("nftables-sync-period", _DEFAULTS.check_period_s, "how often the rules are looked at", duration),
    Flag("nftables-localhost-nodeports", True, "let node ports answer on 127.0.0.1", boolean),
    Flag("healthz-port", _DEFAULTS.health_port, "port of the health check; 0 for none", port),
    Flag("metrics-port", _DEFAULTS.metrics_port, "port of the metrics, on 127.0.0.1; 0 for none", port),
    Flag("cleanup", False, "remove the rules that an earlier proxy left, and end", boolean),
)


async def run(values: Values) -> None:
    clock = SystemClock()
    options = ProxyOptions(
        node_name=values.hostname_override or default_node_name(),
        node_addresses=(values.bind_address or node_address(),),
        cluster_cidrs=values.cluster_cidr,
        service_cidrs=values.service_cluster_ip_range,
        node_port_addresses=values.nodeport_addresses,
        masquerade_all=values.masquerade_all,
        localhost_node_ports=values.nftables_localhost_nodeports,
        min_sync_period_s=values.nftables_min_sync_period,
        check_period_s=values.nftables_sync_period,
        health_port=values.healthz_port,
        metrics_port=values.metrics_port,
    )
    client = connect(values.kubeconfig, "proxy") if not values.cleanup else None
    try:
        if client is None:
            from pilothouse.proxy.backends.nftables import cleanup

            cleanup(options.table)
            return
        informers = InformerFactory(client, clock)
        proxy = Proxy(informers, options, clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(proxy.run())
    except* (NftError, OSError) as failures:
        raise Fatal(sentences(failures)) from failures


COMPONENT = Component("proxy", FLAGS, run)
