"""What stands behind a Service, decided from pods."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.meta import Object
from pilothouse.controllers.endpoints import members, slices, subsets


def service(**spec: Any) -> Object:
    base = {
        "selector": {"app": "web"},
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7"],
        "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "s1", "labels": {"team": "a"}},
        "spec": base | spec,
    }


def pod(number: int, *, ready: bool = True, port: int = 8080, deleting: bool = False, **changes: Any) -> Object:
    address = f"10.244.0.{number}"
    metadata = {"name": f"p{number:03}", "namespace": "default", "uid": f"u{number}", "labels": {"app": "web"}}
    if deleting:
        metadata["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}],
        }
        | changes.pop("spec", {}),
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}, {"ip": f"fd00::{number:x}"}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        | changes.pop("status", {}),
    }


NODES = {"n1": {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}}


def stored(actions: slices.Actions, existing: list[Object]) -> list[Object]:
    """The slices after `actions`."""
    by_name = {one["metadata"]["name"]: one for one in existing}
    for one in actions.delete:
        del by_name[one["metadata"]["name"]]
    for one in actions.update:
        by_name[one["metadata"]["name"]] = one
    for one in actions.create:
        name = f"web-{len(by_name)}-{id(one)}"
        by_name[name] = {**one, "metadata": {**one["metadata"], "name": name}}
    return list(by_name.values())


@pytest.mark.parametrize(
    ("target", "expected"), [("http", 8080), ("absent", None), (9000, 9000), (0, 80), ("side", 7000)]
)
def test_target_ports(target: int | str, expected: int | None) -> None:
    sidecar = {"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 7000}]}
    found = members.target_port(pod(2, spec={"initContainers": [sidecar]}), {"port": 80, "targetPort": target})
    assert found == expected


def test_what_is_not_published() -> None:
    gone = pod(2, status={"phase": "Succeeded"})
    nowhere = pod(3, status={"podIP": "", "podIPs": []})
    lost = pod(4, spec={"nodeName": "n9"})
    actions = slices.plan(service(), [gone, nowhere, lost], NODES, [], 100)
    assert actions.missing_nodes == ("n9",)
    (placeholder,) = actions.create
    assert placeholder["endpoints"] == []
    assert placeholder["ports"] == []


def test_conditions_zone_and_hostname() -> None:
    named = pod(2, spec={"hostname": "h", "subdomain": "web"})
    actions = slices.plan(service(), [named, pod(3, ready=False), pod(4, deleting=True)], NODES, [], 100)
    (one,) = actions.create
    assert one["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert [endpoint["conditions"] for endpoint in one["endpoints"]] == [
        {"ready": True, "serving": True, "terminating": False},
        {"ready": False, "serving": False, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
    ]
    first = one["endpoints"][0]
    assert (first["zone"], first["nodeName"], first["hostname"]) == ("z1", "n1", "h")
    assert first["targetRef"] == {"kind": "Pod", "namespace": "default", "name": "p002", "uid": "u2"}


def test_a_headless_dual_stack_service_has_slices_of_both_families() -> None:
    headless = service(clusterIP="None", clusterIPs=["None"], ipFamilies=["IPv4", "IPv6"], ports=[])
    actions = slices.plan(headless, [pod(2)], NODES, [], 100)
    assert [(one["addressType"], one["endpoints"][0]["addresses"]) for one in actions.create] == [
        ("IPv4", ["10.244.0.2"]),
        ("IPv6", ["fd00::2"]),
    ]
    assert all(one["metadata"]["labels"]["service.kubernetes.io/headless"] == "" for one in actions.create)


def test_pods_with_other_ports_have_slices_of_their_own() -> None:
    actions = slices.plan(service(), [pod(2), pod(3, port=9090)], NODES, [], 100)
    assert sorted(one["ports"][0]["port"] for one in actions.create) == [8080, 9090]


def test_traffic_distribution_gives_hints() -> None:
    actions = slices.plan(service(trafficDistribution="PreferSameNode"), [pod(2)], NODES, [], 100)
    assert actions.create[0]["endpoints"][0]["hints"] == {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}


def test_one_change_touches_one_slice() -> None:
    everything = [pod(number) for number in range(2, 252)]
    existing = stored(slices.plan(service(), everything, NODES, [], 100), [])
    assert sorted(len(one["endpoints"]) for one in existing) == [50, 100, 100]
    everything[10] = pod(12, ready=False)
    actions = slices.plan(service(), everything, NODES, existing, 100)
    assert (len(actions.create), len(actions.update), len(actions.delete)) == (0, 1, 0)
    actions = slices.plan(service(), everything[:-1], NODES, stored(actions, existing), 100)
    assert (len(actions.create), len(actions.update), len(actions.delete)) == (0, 1, 0)


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(2, 40)), min_size=1, max_size=5), st.integers(1, 7))
def test_plans_converge_whatever_came_before(history: list[set[int]], limit: int) -> None:
    existing: list[Object] = []
    for numbers in history:
        wanted = [pod(number) for number in sorted(numbers)]
        existing = stored(slices.plan(service(), wanted, NODES, existing, limit), existing)
        found = sorted(endpoint["targetRef"]["uid"] for one in existing for endpoint in one["endpoints"])
        assert found == sorted(f"u{number}" for number in numbers)
        assert all(len(one["endpoints"]) <= limit for one in existing)
        assert slices.plan(service(), wanted, NODES, existing, limit) == slices.Actions()


def test_subsets_group_addresses_by_ports_and_readiness() -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
        {"name": "fixed", "port": 81, "targetPort": 7000, "protocol": "TCP"},
    ]
    found = subsets.subsets_of(service(ports=ports), [pod(2), pod(3, ready=False), pod(4, deleting=True)])
    assert len(found) == 1
    assert [entry["ip"] for entry in found[0]["addresses"]] == ["10.244.0.2"]
    assert [entry["ip"] for entry in found[0]["notReadyAddresses"]] == ["10.244.0.3"]
    assert sorted(port["port"] for port in found[0]["ports"]) == [7000, 8080]


def test_too_many_addresses_are_cut_and_marked() -> None:
    many = [
        pod(number, ready=number % 2 == 0, status={"podIP": f"10.1.{number // 250}.{number % 250}", "podIPs": []})
        for number in range(1500)
    ]
    wanted = subsets.plan(service(), many, None)
    assert wanted is not None
    assert wanted["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"
    (subset,) = wanted["subsets"]
    assert (len(subset["addresses"]), len(subset["notReadyAddresses"])) == (750, 250)
    assert subsets.plan(service(), many, wanted) is None
