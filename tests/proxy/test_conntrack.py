"""Which UDP flows are stale."""

from __future__ import annotations

import dataclasses

from pilothouse.proxy.conntrack import Flow, Frontend, frontends_of, stale_flows
from pilothouse.proxy.services import Endpoint, ServicePort

PORT = ServicePort("kube-system", "dns", "dns", "udp", 53, "10.96.0.10", node_port=30053)

LISTING = """\
udp      17 28 src=10.244.0.5 dst=10.96.0.10 sport=4000 dport=53 src=10.244.0.2 dst=10.244.0.5 sport=1053 dport=4000 mark=0 use=1
udp      17 28 src=10.244.0.5 dst=10.96.0.10 sport=4001 dport=53 src=10.244.0.9 dst=10.244.0.5 sport=1053 dport=4001 mark=0 use=1
udp      17 28 src=10.244.0.5 dst=10.96.0.10 sport=4002 dport=53 [UNREPLIED] src=10.96.0.10 dst=10.244.0.5 sport=53 dport=4002 use=1
udp      17 28 src=192.0.2.9 dst=192.0.2.1 sport=4003 dport=30053 src=10.244.0.9 dst=10.244.0.1 sport=1053 dport=4003 mark=0 use=1
udp      17 28 src=192.0.2.9 dst=192.0.2.1 sport=4003 dport=9999 src=192.0.2.1 dst=192.0.2.9 sport=9999 dport=4003 mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 5 flow entries have been shown.
"""


def test_flows_to_what_is_no_endpoint_are_stale() -> None:
    frontends = frontends_of(PORT, [Endpoint("10.244.0.2", 1053), Endpoint("10.244.0.9", 1053, is_serving=False)])
    assert stale_flows(LISTING, frontends) == {
        Flow("10.96.0.10", 53, "10.244.0.9"),
        Flow("10.96.0.10", 53, "10.96.0.10"),
        Flow("192.0.2.1", 30053, "10.244.0.9"),
    }


def test_tcp_and_services_without_endpoints_have_none() -> None:
    assert frontends_of(dataclasses.replace(PORT, protocol="tcp"), [Endpoint("10.244.0.2", 1053)]) == {}
    assert frontends_of(PORT, []) == {}
    assert Frontend("", 30053) in frontends_of(PORT, [Endpoint("10.244.0.2", 1053)])
