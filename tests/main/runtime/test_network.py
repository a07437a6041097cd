"""The CNI list and the nft rules as values."""

from __future__ import annotations

from pathlib import Path

from pilothouse.main.runtime.network import NetworkOptions, conflist, masquerade_rules


def options(**changes: object) -> NetworkOptions:
    values: dict[str, object] = {"configuration": Path("/c"), "state": Path("/s"), "pod_cidrs": ("10.244.1.0/24",)}
    return NetworkOptions(**{**values, **changes})  # type: ignore[arg-type]


def test_the_list_gives_addresses_of_the_nodes_range_and_host_ports() -> None:
    bridge, portmap = conflist(options())["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert bridge["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}]
    assert bridge["hairpinMode"] is True
    assert bridge["ipMasq"] is False
    assert portmap["capabilities"] == {"portMappings": True}
    assert "mtu" not in bridge


def test_a_second_family_gets_its_own_range_route_and_table() -> None:
    dual = options(pod_cidrs=("10.244.1.0/24", "fd00:1::/64"), cluster_cidrs=("10.244.0.0/16", "fd00::/48"), mtu=1400)
    bridge = conflist(dual)["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]
    assert bridge["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    assert bridge["mtu"] == 1400
    rules = masquerade_rules(dual)
    assert "ip saddr { 10.244.1.0/24 } ip daddr != @inside masquerade" in rules
    assert "ip6 saddr { fd00:1::/64 } ip6 daddr != @inside masquerade" in rules


def test_rules_replace_those_of_an_earlier_start_in_one_transaction() -> None:
    lines = masquerade_rules(options()).splitlines()
    assert lines[:3] == ["add table ip pilothouse", "delete table ip pilothouse", "add table ip pilothouse"]
    assert not any("ip6" in line for line in lines)
