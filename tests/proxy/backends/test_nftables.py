"""Real rules in a small network: what clients in pods, on the node and outside get."""

from __future__ import annotations

import ctypes.util
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.proxy.backends.libnftables import Libnftables, NftError
from pilothouse.proxy.backends.nftables import NftTable, TableOptions
from pilothouse.proxy.desired import Node, Rules, rules_of
from pilothouse.proxy.services import Endpoint, Family, ServicePort
from tests.proxy.namespaces import EchoServer, Network, ask, ask_udp, can_make_namespaces, within

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces need root and iproute2"),
    pytest.mark.skipif(not ctypes.util.find_library("nftables"), reason="the package nftables is missing"),
]

NODE = Node("node", "", ("192.0.2.1",), ("10.244.0.0/16",))
WEB = ServicePort("default", "web", "http", "tcp", 80, "10.96.0.20")
BOTH = (Endpoint("10.244.0.2", 8080, is_local=True), Endpoint("10.244.0.3", 8080, is_local=True))
ELSEWHERE = (Endpoint("10.244.0.3", 8080),)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    network = Network()
    try:
        network.make()
        yield network
    finally:
        network.remove()


@pytest.fixture(scope="module")
def servers(network: Network) -> Iterator[None]:
    servers = [EchoServer(pod, f"pod{index}", 8080) for index, pod in enumerate(network.pods)]
    yield
    for server in servers:
        server.close()


class Proxied:
    """The node's table, by which a test puts one Service in place after the other."""

    def __init__(self, network: Network) -> None:
        self.nft = within(network.node, Libnftables)
        self.table = NftTable(self.nft, Family.V4, NODE, TableOptions(service_cidrs=("10.96.0.0/16",)))
        self.table.replace({})

    def put(self, port: ServicePort, endpoints: tuple[Endpoint, ...] = BOTH) -> None:
        self.table.change({f"{port.namespace}/{port.service}": rules_of(port, endpoints, NODE, Family.V4)}, 0.0)


@pytest.fixture
def proxied(network: Network, servers: None) -> Iterator[Proxied]:
    proxied = Proxied(network)
    yield proxied
    proxied.table.cleanup()
    assert proxied.nft.list("tables ip") == [proxied.nft.list("tables ip")[0]]
    proxied.nft.close()


def names(namespace: str, address: str, port: int, times: int = 24) -> set[str]:
    return {ask(namespace, address, port)[0] for _ in range(times)}


def test_a_cluster_ip_spreads_over_the_pods_from_everywhere(network: Network, proxied: Proxied) -> None:
    proxied.put(WEB)
    for client in (network.node, network.outside, network.pods[0]):
        assert names(client, "10.96.0.20", 80) == {"pod0", "pod1"}


def test_a_pod_is_seen_with_its_own_address_and_others_with_the_nodes(network: Network, proxied: Proxied) -> None:
    proxied.put(WEB, BOTH[1:])
    assert ask(network.pods[0], "10.96.0.20", 80) == ("pod1", "10.244.0.2")
    assert ask(network.outside, "10.96.0.20", 80) == ("pod1", "10.244.0.1")


def test_a_pod_reaches_itself_through_its_service(network: Network, proxied: Proxied) -> None:
    proxied.put(WEB, BOTH[:1])
    assert ask(network.pods[0], "10.96.0.20", 80) == ("pod0", "10.244.0.1")


def test_neighbours_reach_each_other_though_the_bridge_does_not_ask_netfilter(
    network: Network, proxied: Proxied
) -> None:
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    within(network.node, lambda: setting.write_text("0"))
    try:
        proxied.put(WEB, BOTH[1:])
        with pytest.raises(TimeoutError):
            ask(network.pods[0], "10.96.0.20", 80, timeout_s=0.3)
        table = NftTable(proxied.nft, Family.V4, NODE, TableOptions(masquerade_pods=True))
        table.replace({"default/web": rules_of(WEB, BOTH[1:], NODE, Family.V4)})
        assert ask(network.pods[0], "10.96.0.20", 80) == ("pod1", "10.244.0.1")
    finally:
        within(network.node, lambda: setting.write_text("1"))


def test_udp(network: Network, proxied: Proxied) -> None:
    proxied.put(dataclasses.replace(WEB, protocol="udp"))
    for client in (network.node, network.outside, network.pods[0]):
        assert {ask_udp(client, "10.96.0.20", 80)[0] for _ in range(24)} == {"pod0", "pod1"}


def test_a_node_port_answers_on_every_address_of_the_node(network: Network, proxied: Proxied) -> None:
    proxied.put(dataclasses.replace(WEB, node_port=30080))
    assert names(network.outside, "192.0.2.1", 30080) == {"pod0", "pod1"}
    assert names(network.node, "192.0.2.1", 30080) == {"pod0", "pod1"}
    assert names(network.node, "127.0.0.1", 30080) == {"pod0", "pod1"}
    assert names(network.pods[0], "10.244.0.1", 30080) == {"pod0", "pod1"}


def test_nobody_outside_reaches_the_nodes_loopback(network: Network, proxied: Proxied) -> None:
    from tests.proxy.namespaces import ip

    server = EchoServer(network.node, "private", 7777)
    try:
        ip(
            "-n",
            network.outside,
            "route",
            "add",
            "127.0.0.5/32",
            "via",
            "192.0.2.1",
            "src",
            "192.0.2.9",
            "table",
            "main",
        )
        ip("-n", network.outside, "route", "flush", "cache")
        with pytest.raises(OSError):
            ask(network.outside, "127.0.0.5", 7777, timeout_s=0.3)
    finally:
        server.close()


def test_external_and_load_balancer_addresses(network: Network, proxied: Proxied) -> None:
    proxied.put(dataclasses.replace(WEB, external_ips=("203.0.113.1",), load_balancer_ips=("203.0.113.2",)))
    assert names(network.outside, "203.0.113.1", 80) == {"pod0", "pod1"}
    assert names(network.outside, "203.0.113.2", 80) == {"pod0", "pod1"}


def test_source_ranges_keep_others_out(network: Network, proxied: Proxied) -> None:
    closed = dataclasses.replace(WEB, load_balancer_ips=("203.0.113.2",), source_ranges=("198.51.100.0/24",))
    proxied.put(closed)
    with pytest.raises(TimeoutError):
        ask(network.outside, "203.0.113.2", 80, timeout_s=0.3)
    proxied.put(dataclasses.replace(closed, source_ranges=("192.0.2.0/24",)))
    assert names(network.outside, "203.0.113.2", 80) == {"pod0", "pod1"}


@pytest.mark.parametrize("address", ["10.96.0.20", "203.0.113.1"])
def test_a_service_without_endpoints_refuses_at_once(network: Network, proxied: Proxied, address: str) -> None:
    port = dataclasses.replace(WEB, external_ips=("203.0.113.1",), node_port=30080)
    proxied.put(port, ())
    for client in (network.node, network.outside, network.pods[0]):
        with pytest.raises(ConnectionRefusedError):
            ask(client, address, 80)
    for client in (network.node, network.outside):
        with pytest.raises(ConnectionRefusedError):
            ask(client, "192.0.2.1", 30080)
    proxied.put(port)
    assert names(network.outside, address, 80) == {"pod0", "pod1"}
    proxied.put(port, ())
    with pytest.raises(ConnectionRefusedError):
        ask(network.outside, address, 80)


def test_another_port_of_a_cluster_ip_is_refused(network: Network, proxied: Proxied) -> None:
    proxied.put(WEB)
    for client in (network.node, network.pods[0]):
        with pytest.raises(ConnectionRefusedError):
            ask(client, "10.96.0.20", 81)
        with pytest.raises(TimeoutError):
            ask(client, "10.96.77.77", 80, timeout_s=0.3)


def test_session_affinity_keeps_a_client_with_its_endpoint(network: Network, proxied: Proxied) -> None:
    sticky = dataclasses.replace(WEB, affinity_s=100)
    proxied.put(sticky)
    first = ask(network.pods[0], "10.96.0.20", 80)[0]
    assert names(network.pods[0], "10.96.0.20", 80) == {first}

    proxied.table.replace({"default/web": rules_of(sticky, BOTH, NODE, Family.V4)})
    assert names(network.pods[0], "10.96.0.20", 80) == {first}, "it stays there when the proxy starts again"

    other = BOTH[0] if first == "pod1" else BOTH[1]
    proxied.put(sticky, (other,))
    assert names(network.pods[0], "10.96.0.20", 80, 5) == {"pod0", "pod1"} - {first}, "the endpoint is gone"


def test_session_affinity_ends_with_its_timeout(network: Network, proxied: Proxied) -> None:
    proxied.put(dataclasses.replace(WEB, affinity_s=1))
    assert names(network.pods[0], "10.96.0.20", 80, 5) in ({"pod0"}, {"pod1"})
    sets = [
        entry["set"]
        for entry in proxied.nft.list("sets ip")
        if "set" in entry and entry["set"]["name"].startswith("aff")
    ]
    assert [one["timeout"] for one in sets] == [1, 1]


def test_the_internal_policy_local_knows_only_this_node(network: Network, proxied: Proxied) -> None:
    local = dataclasses.replace(WEB, is_internal_local=True)
    proxied.put(local, (BOTH[0], *ELSEWHERE))
    assert names(network.pods[1], "10.96.0.20", 80) == {"pod0"}
    proxied.put(local, ELSEWHERE)
    with pytest.raises(TimeoutError):
        ask(network.pods[1], "10.96.0.20", 80, timeout_s=0.3)


def test_the_external_policy_local_keeps_the_clients_address(network: Network, proxied: Proxied) -> None:
    local = dataclasses.replace(WEB, node_port=30080, is_external_local=True)
    proxied.put(local, (BOTH[0], *ELSEWHERE))
    assert ask(network.outside, "192.0.2.1", 30080) == ("pod0", "192.0.2.9")
    assert names(network.outside, "192.0.2.1", 30080) == {"pod0"}
    assert names(network.node, "192.0.2.1", 30080) == {"pod0", "pod1"}, "the node itself is not subject to the policy"
    assert names(network.pods[0], "192.0.2.1", 30080) == {"pod0", "pod1"}
    proxied.put(local, ELSEWHERE)
    with pytest.raises(TimeoutError):
        ask(network.outside, "192.0.2.1", 30080, timeout_s=0.3)


def test_a_change_touches_nothing_but_its_own(network: Network, proxied: Proxied) -> None:
    other = dataclasses.replace(WEB, service="other", cluster_ip="10.96.0.21")
    proxied.put(WEB)
    proxied.put(other, BOTH[:1])
    proxied.put(other, BOTH[1:])
    assert names(network.node, "10.96.0.21", 80) == {"pod1"}
    proxied.table.change({"default/other": Rules()}, 0.0)
    assert names(network.node, "10.96.0.20", 80) == {"pod0", "pod1"}
    with pytest.raises(TimeoutError):
        ask(network.node, "10.96.0.21", 80, timeout_s=0.3)
    assert proxied.table.stale == 1
    proxied.table.sweep(100.0)
    assert proxied.table.stale == 0
    assert not [entry for entry in proxied.nft.list("chains ip") if "default/other" in str(entry)]


def test_of_two_services_with_one_address_the_first_has_it(network: Network, proxied: Proxied) -> None:
    first = dataclasses.replace(WEB, external_ips=("203.0.113.1",))
    second = dataclasses.replace(first, service="second", cluster_ip="10.96.0.21")
    proxied.put(first, BOTH[:1])
    proxied.put(second, BOTH[1:])
    assert names(network.outside, "203.0.113.1", 80) == {"pod0"}
    proxied.table.change({"default/web": Rules()}, 0.0)
    assert names(network.outside, "203.0.113.1", 80) == {"pod1"}


def test_a_table_that_vanished_is_noticed_and_a_failed_change_changes_nothing(
    network: Network, proxied: Proxied
) -> None:
    assert proxied.table.is_present()
    proxied.nft.run("delete table ip pilothouse-proxy")
    assert not proxied.table.is_present()
    with pytest.raises(NftError):
        proxied.put(WEB)
    proxied.table.replace({"default/web": rules_of(WEB, BOTH, NODE, Family.V4)})
    assert names(network.node, "10.96.0.20", 80) == {"pod0", "pod1"}
