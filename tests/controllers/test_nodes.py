"""Nodes in trouble, their pods, and their addresses."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.meta import Object, format_time
from pilothouse.controllers import pod_gc
from pilothouse.controllers.node_ipam import Pool
from pilothouse.controllers.node_lifecycle import (
    Disruption,
    Eviction,
    disruption_of,
    silent_conditions,
    taints_of,
)
from pilothouse.controllers.taint_eviction import toleration_s

NOW = 1_700_000_000.0
THEIRS = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


def node(ready: str = "True", *, taints: tuple[Object, ...] = (), name: str = "n1", **changes: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    conditions += changes.pop("conditions", [])
    spec: Object = {"taints": list(taints)} if taints else {}
    return {"metadata": {"name": name}, "spec": spec | changes, "status": {"conditions": conditions}}


def keys(taints: list[Object]) -> set[tuple[str, str]]:
    return {(taint["key"].removeprefix("node.kubernetes.io/"), taint["effect"]) for taint in taints}


@pytest.mark.parametrize(
    ("ready", "eviction", "expected"),
    [
        ("True", Eviction.ALLOWED, set()),
        ("", Eviction.ALLOWED, set()),
        ("False", Eviction.ALLOWED, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        ("Unknown", Eviction.ALLOWED, {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        ("Unknown", Eviction.POSTPONED, {("unreachable", "NoSchedule")}),
        ("Unknown", Eviction.WITHHELD, {("unreachable", "NoSchedule")}),
    ],
)
def test_taints_follow_the_ready_condition(ready: str, eviction: Eviction, expected: set[tuple[str, str]]) -> None:
    assert keys(taints_of(node(ready, taints=(THEIRS,)), eviction, NOW)) == expected | {("dedicated", "NoSchedule")}


def test_a_taint_that_evicts_already_changes_its_kind_at_once_and_is_taken_back_when_withheld() -> None:
    before = taints_of(node("False"), Eviction.ALLOWED, NOW)
    gone_silent = node("Unknown", taints=tuple(before))
    assert ("unreachable", "NoExecute") in keys(taints_of(gone_silent, Eviction.POSTPONED, NOW))
    assert keys(taints_of(gone_silent, Eviction.WITHHELD, NOW)) == {("unreachable", "NoSchedule")}


def test_a_taint_keeps_the_time_it_was_added() -> None:
    before = taints_of(node("False"), Eviction.ALLOWED, NOW)
    assert taints_of(node("False", taints=tuple(before)), Eviction.ALLOWED, NOW + 99) == before


def test_pressure_and_cordon_taint_as_well() -> None:
    pressed = node(conditions=[{"type": "DiskPressure", "status": "True"}], unschedulable=True)
    expected = {("disk-pressure", "NoSchedule"), ("unschedulable", "NoSchedule")}
    assert keys(taints_of(pressed, Eviction.ALLOWED, NOW)) == expected


def test_a_silent_kubelet() -> None:
    found = silent_conditions(node("True", conditions=[{"type": "NetworkUnavailable", "status": "False"}]), NOW)
    reasons = {condition["type"]: condition.get("reason") for condition in found}
    assert reasons == {
        "Ready": "NodeStatusUnknown",
        "NetworkUnavailable": None,
        "MemoryPressure": "NodeStatusNeverUpdated",
        "DiskPressure": "NodeStatusNeverUpdated",
        "PIDPressure": "NodeStatusNeverUpdated",
    }
    again = {"metadata": {}, "status": {"conditions": found}}
    assert silent_conditions(again, NOW + 60) == found


@pytest.mark.parametrize(
    ("ready", "unready", "expected"),
    [
        (0, 1, Disruption.FULL),
        (1, 2, Disruption.NORMAL),
        (2, 3, Disruption.PARTIAL),
        (3, 3, Disruption.NORMAL),
        (0, 0, Disruption.NORMAL),
    ],
)
def test_zones(ready: int, unready: int, expected: Disruption) -> None:
    assert disruption_of([*[node()] * ready, *[node("Unknown")] * unready], 0.55) is expected


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0.0),
        ([{"operator": "Exists"}], None),
        ([{"key": "a", "operator": "Exists", "tolerationSeconds": 30}], 0.0),
        (
            [
                {"operator": "Exists", "tolerationSeconds": 30},
                {"key": "b", "operator": "Exists", "tolerationSeconds": 5},
            ],
            5.0,
        ),
        ([{"operator": "Exists", "tolerationSeconds": -1}], 0.0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Object], expected: float | None) -> None:
    taints = [{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]
    assert toleration_s({"metadata": {}, "spec": {"tolerations": tolerations}}, taints) == expected


@given(st.lists(st.integers(0, 20), max_size=60))
def test_no_two_nodes_share_a_subnet(steps: list[int]) -> None:
    network = ip_network("10.244.0.0/20")
    pool = Pool(network, 24, [ip_network("10.244.3.0/25")])
    held: list[Any] = []
    for step in steps:
        if step < 14:
            taken = pool.take()
            assert (taken is None) == (len(held) == 15)
            if taken is not None:
                assert taken.subnet_of(network)
                assert not any(taken.overlaps(other) for other in (*held, ip_network("10.244.3.0/25")))
                held.append(taken)
        elif held:
            pool.release(held.pop(step % len(held)))


def test_a_pool_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no room"):
        Pool(ip_network("10.244.0.0/28"), 24)


def test_subnets_of_either_family_come_in_turn() -> None:
    pool = Pool(ip_network("fd00::/56"), 64)
    assert str(pool.take()) == "fd00::/64"
    assert str(pool.take()) == "fd00:0:0:1::/64"


def test_which_pods_nobody_else_removes() -> None:
    def pod(name: str, **changes: Any) -> Object:
        metadata: Object = {"name": name, "namespace": "default", "creationTimestamp": format_time(NOW)}
        if changes.pop("deleting", False):
            metadata["deletionTimestamp"] = format_time(NOW)
        metadata["creationTimestamp"] = format_time(NOW - changes.pop("age", 0))
        return {
            "metadata": metadata,
            "spec": {"nodeName": changes.pop("node", "n1")},
            "status": {"phase": "Running"} | changes,
        }

    nodes = {
        "n1": node(),
        "n2": node("Unknown", name="n2", taints=({"key": pod_gc.OUT_OF_SERVICE, "effect": "NoExecute"},)),
    }
    found = [
        pod("fine"),
        pod("lost", node="gone"),
        pod("unsure", node="new"),
        pod("old", phase="Succeeded", age=100),
        pod("evicted", phase="Failed", reason="Evicted"),
        pod("recent", phase="Failed", age=50),
        pod("nowhere", node="", deleting=True),
        pod("stuck", node="n2", deleting=True),
    ]
    actions = pod_gc.plan(found, nodes, ["gone"], 1)
    names = [
        [one["metadata"]["name"] for one in group]
        for group in (actions.orphaned, actions.terminated, actions.unscheduled, actions.out_of_service)
    ]
    assert names == [["lost"], ["evicted", "old"], ["nowhere"], ["stuck"]]
    assert actions.missing_nodes == {"gone", "new"}
    assert pod_gc.plan(found, nodes, [], 0).terminated == ()
