"""Reading Services and slices."""

from __future__ import annotations

from typing import Any

from pilothouse.api.views.endpoint_slice import EndpointSliceView
from pilothouse.api.views.service import ServiceView
from pilothouse.proxy.services import Endpoint, Family, endpoints_of, families_of, service_ports


def service(**spec: Any) -> ServiceView:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    return ServiceView(
        {"metadata": {"namespace": "n", "name": "web"}, "spec": {"clusterIP": "10.96.0.1", "ports": ports, **spec}}
    )


def slice_of(*endpoints: dict[str, Any], name: str = "s", **fields: Any) -> EndpointSliceView:
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return EndpointSliceView(
        {
            "metadata": {"namespace": "n", "name": name},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
            **fields,
        }
    )


def test_headless_and_external_names_are_not_proxied() -> None:
    assert service_ports(service(clusterIP="None", clusterIPs=["None"]), Family.V4) == ()
    assert service_ports(service(type="ExternalName", externalName="x", clusterIP=""), Family.V4) == ()
    assert service_ports(service(), Family.V6) == ()


def test_a_node_port_counts_only_for_the_types_that_have_one() -> None:
    assert service_ports(service(), Family.V4)[0].node_port == 0
    assert service_ports(service(type="NodePort"), Family.V4)[0].node_port == 30080


def test_each_family_has_its_addresses() -> None:
    dual = service(clusterIPs=["10.96.0.1", "fd00::1"], externalIPs=["192.0.2.7", "fd00::7"])
    v4, v6 = service_ports(dual, Family.V4)[0], service_ports(dual, Family.V6)[0]
    assert (v4.cluster_ip, v4.external_ips) == ("10.96.0.1", ("192.0.2.7",))
    assert (v6.cluster_ip, v6.external_ips) == ("fd00::1", ("fd00::7",))
    assert families_of(["fd00::/64", "10.0.0.0/8"]) == (Family.V4, Family.V6)


def test_a_range_of_everyone_means_no_firewall() -> None:
    assert (
        service_ports(service(loadBalancerSourceRanges=["0.0.0.0/0", "192.0.2.0/24"]), Family.V4)[0].source_ranges == ()
    )
    adjacent = service(loadBalancerSourceRanges=["192.0.2.0/25", "192.0.2.128/25"])
    assert service_ports(adjacent, Family.V4)[0].source_ranges == ("192.0.2.0/24",)


def test_an_endpoint_in_two_slices_counts_once_and_ready() -> None:
    port = service_ports(service(), Family.V4)[0]
    old = slice_of({"addresses": ["10.244.0.1"], "conditions": {"ready": False}, "nodeName": "here"}, name="a")
    new = slice_of({"addresses": ["10.244.0.1"], "conditions": {"ready": True}, "nodeName": "here"}, name="b")
    for slices in ([old, new], [new, old]):
        assert endpoints_of(slices, port, Family.V4, "here") == (Endpoint("10.244.0.1", 8080, is_local=True),)


def test_slices_of_another_family_or_port_are_left_out() -> None:
    port = service_ports(service(), Family.V4)[0]
    other_family = slice_of({"addresses": ["fd00::1"]}, addressType="IPv6")
    other_port = slice_of({"addresses": ["10.244.0.1"]}, ports=[{"name": "metrics", "port": 9090}])
    no_number = slice_of({"addresses": ["10.244.0.1"]}, ports=[{"name": "http", "protocol": "TCP"}])
    assert endpoints_of([other_family, other_port, no_number], port, Family.V4, "here") == ()


def test_unknown_conditions_count_as_good() -> None:
    port = service_ports(service(), Family.V4)[0]
    assert endpoints_of([slice_of({"addresses": ["10.244.0.1"]})], port, Family.V4, "here") == (
        Endpoint("10.244.0.1", 8080),
    )
