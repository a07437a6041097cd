"""Which endpoints a port's traffic may go to, and what nft is told."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.proxy.desired import Node, Reach, merge, name_of, reach_of, rules_of
from pilothouse.proxy.services import Endpoint, Family, ServicePort

NODE = Node("here", "zone-a", ("192.0.2.1",), ("10.244.0.0/16",))
PORT = ServicePort("default", "web", "http", "tcp", 80, "10.96.0.20")
LOCAL = dataclasses.replace(PORT, node_port=30080, is_external_local=True)


def endpoint(number: int, **fields: object) -> Endpoint:
    return Endpoint(f"10.244.0.{number}", 8080, **fields)  # type: ignore[arg-type]


DYING = {"is_ready": False, "is_serving": True, "is_terminating": True}
READY_HERE = endpoint(1, is_local=True)
READY_THERE = endpoint(2)
DYING_HERE = endpoint(3, is_local=True, **DYING)
DYING_THERE = endpoint(4, **DYING)
UNREADY = endpoint(5, is_ready=False, is_serving=False)


@pytest.mark.parametrize(
    ("endpoints", "cluster", "local", "exists"),
    [
        ([], [], [], False),
        ([UNREADY], [], [], False),
        ([READY_HERE, READY_THERE, DYING_HERE], [READY_HERE, READY_THERE], [READY_HERE], True),
        ([READY_THERE], [READY_THERE], [], True),
        ([DYING_HERE, READY_THERE], [READY_THERE], [DYING_HERE], True),
        ([DYING_HERE, DYING_THERE], [DYING_HERE, DYING_THERE], [DYING_HERE], True),
        ([DYING_THERE], [DYING_THERE], [], True),
    ],
)
def test_ready_endpoints_are_used_and_dying_ones_where_there_are_none(
    endpoints: list[Endpoint], cluster: list[Endpoint], local: list[Endpoint], exists: bool
) -> None:
    assert reach_of(LOCAL, endpoints, NODE) == Reach(tuple(cluster), tuple(local), exists)


def test_a_policy_that_a_port_does_not_use_has_no_endpoints() -> None:
    assert reach_of(PORT, [READY_HERE], NODE).local == ()
    internal = dataclasses.replace(PORT, is_internal_local=True)
    assert reach_of(internal, [READY_HERE, READY_THERE], NODE) == Reach((), (READY_HERE,), True)


def hinted(number: int, *, zone: str = "", node: str = "") -> Endpoint:
    return endpoint(number, zone_hints=frozenset({zone} - {""}), node_hints=frozenset({node} - {""}))


@pytest.mark.parametrize(
    ("endpoints", "chosen"),
    [
        ([hinted(1, zone="zone-a"), hinted(2, zone="zone-b")], [1]),
        ([hinted(1, zone="zone-b"), hinted(2, zone="zone-b")], [1, 2]),
        ([hinted(1, zone="zone-a"), hinted(2)], [1, 2]),
        ([hinted(1, zone="zone-a", node="here"), hinted(2, zone="zone-a", node="there")], [1]),
        ([hinted(1, zone="zone-a", node="there"), hinted(2, zone="zone-b", node="there")], [1]),
    ],
)
def test_hints_count_if_all_have_one_and_one_is_for_here(endpoints: list[Endpoint], chosen: list[int]) -> None:
    assert [int(one.ip.rpartition(".")[2]) for one in reach_of(PORT, endpoints, NODE).cluster] == chosen


def test_nothing_reachable_here_is_dropped_and_nothing_at_all_is_refused() -> None:
    key = ("no-endpoint-nodeports", "tcp . 30080")
    assert rules_of(LOCAL, [READY_HERE], NODE, Family.V4).elements.get(key) is None
    assert rules_of(LOCAL, [READY_THERE], NODE, Family.V4).elements[key] == "drop"
    assert rules_of(LOCAL, [], NODE, Family.V4).elements[key] == "goto reject-chain"


def test_the_firewall_admits_the_balancers_own_address_for_the_node() -> None:
    port = dataclasses.replace(PORT, load_balancer_ips=("203.0.113.1",), source_ranges=("192.0.2.0/24",))
    firewall = name_of("firewall", port.label)
    assert rules_of(port, [READY_HERE], NODE, Family.V4).chains[firewall] == (
        "ip saddr != { 192.0.2.0/24, 203.0.113.1 } drop",
    )


def test_names_differ_even_if_they_are_cut() -> None:
    long = "n" * 300
    assert name_of("cluster", f"{long}a") != name_of("cluster", f"{long}b")
    assert len(name_of("cluster", long)) <= 200
    assert ":" not in name_of("endpoint", "a__fd00::1/80")


def test_the_first_port_keeps_an_element_that_two_have() -> None:
    one = rules_of(PORT, [READY_HERE], NODE, Family.V4)
    two = rules_of(dataclasses.replace(PORT, name="other"), [READY_THERE], NODE, Family.V4)
    key = ("service-ips", "10.96.0.20 . tcp . 80")
    assert merge([one, two]).elements[key] == one.elements[key]


endpoints = st.lists(
    st.builds(
        Endpoint,
        ip=st.integers(1, 9).map(lambda number: f"10.244.0.{number}"),
        port=st.just(8080),
        is_local=st.booleans(),
        is_ready=st.booleans(),
        is_serving=st.booleans(),
        is_terminating=st.booleans(),
    ),
    unique_by=lambda one: one.ip,
)
ports = st.builds(
    ServicePort,
    namespace=st.just("default"),
    service=st.just("web"),
    name=st.just("http"),
    protocol=st.sampled_from(["tcp", "udp", "sctp"]),
    port=st.just(80),
    cluster_ip=st.just("10.96.0.20"),
    node_port=st.sampled_from([0, 30080]),
    external_ips=st.sampled_from([(), ("203.0.113.1",)]),
    load_balancer_ips=st.sampled_from([(), ("203.0.113.2",)]),
    source_ranges=st.sampled_from([(), ("192.0.2.0/24",)]),
    is_internal_local=st.booleans(),
    is_external_local=st.booleans(),
    affinity_s=st.sampled_from([None, 10]),
)


@given(ports, endpoints)
def test_every_chain_and_set_that_a_rule_names_exists_and_every_address_has_an_answer(
    port: ServicePort, endpoints: list[Endpoint]
) -> None:
    rules = rules_of(port, endpoints, NODE, Family.V4)
    named = {*rules.chains, *rules.affinity_sets, "reject-chain"}
    texts = [line for lines in rules.chains.values() for line in lines] + [v for v in rules.elements.values() if v]
    for text in texts:
        words = text.replace(",", " ").split()
        targets = [after for before, after in itertools.pairwise(words) if before == "goto"]
        targets += [word[1:] for word in words if word.startswith("@")]
        assert set(targets) <= named
    assert all(lines for lines in rules.chains.values())
    for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
        key = f"{address} . {port.protocol} . 80"
        assert ("service-ips", key) in rules.elements or ("no-endpoint-services", key) in rules.elements
