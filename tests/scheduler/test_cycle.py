from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from pilothouse.scheduler.columns import Columns
from pilothouse.scheduler.cycle import Placed, Unschedulable, schedule
from pilothouse.scheduler.framework import Cluster
from pilothouse.scheduler.plugins.table import default_profile
from pilothouse.scheduler.pod import PodInfo
from tests.scheduler.build import columns, node, pod

PROFILE = default_profile()


def decide(made: Columns, wanted: PodInfo, **cluster: Any) -> Placed | Unschedulable:
    return schedule(wanted, Cluster(made, **cluster), PROFILE, random.Random(1))


def message(made: Columns, wanted: PodInfo, **cluster: Any) -> str:
    verdict = decide(made, wanted, **cluster)
    assert isinstance(verdict, Unschedulable)
    return verdict.message


def place(made: Columns, wanted: PodInfo, **cluster: Any) -> str:
    verdict = decide(made, wanted, **cluster)
    assert isinstance(verdict, Placed), verdict
    made.put_pod(wanted, verdict.node_name)
    return verdict.node_name


def test_without_nodes_nothing_fits() -> None:
    assert message(columns(), pod()) == "no nodes available to schedule pods"


def test_reasons_are_counted_and_sorted_as_upstream_does() -> None:
    made = columns(
        node("a", cpu="100m"),
        node("b", unschedulable=True),
        node("c", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),
        node("d", cpu="100m", memory="1Mi"),
    )
    assert message(made, pod(cpu="200m", memory="10Mi")) == (
        "0/4 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 2 Insufficient cpu."
    )


def test_requests_add_up() -> None:
    made = columns(node("a", cpu="1"))
    assert place(made, pod(cpu="600m")) == "a"
    assert message(made, pod(cpu="500m")) == "0/1 nodes are available: 1 Insufficient cpu."
    assert place(made, pod(cpu="400m")) == "a"


def test_a_pod_that_goes_makes_room() -> None:
    made = columns(node("a", cpu="1", pods="1"))
    first = pod(cpu="1")
    place(made, first)
    assert message(made, pod()) == "0/1 nodes are available: 1 Too many pods."
    made.remove_pod(first.uid)
    assert place(made, pod(cpu="1")) == "a"


def test_extended_resources_are_needed_whole() -> None:
    made = columns(node("a"), node("b", extended={"example.com/gpu": "2"}))
    wanted = pod(container={"resources": {"requests": {"example.com/gpu": "2"}}})
    assert place(made, wanted) == "b"
    again = pod(container={"resources": {"requests": {"example.com/gpu": "1"}}})
    assert message(made, again) == "0/2 nodes are available: 2 Insufficient example.com/gpu."


def test_the_emptier_node_is_better() -> None:
    made = columns(node("a"), node("b"))
    place(made, pod(cpu="2", memory="2Gi", nodeName="a"))
    assert place(made, pod(cpu="1", memory="1Gi")) == "b"


def test_a_named_node_is_the_only_one() -> None:
    made = columns(node("a"), node("b"))
    assert place(made, pod(nodeName="b")) == "b"
    assert "didn't match the requested node name" in message(made, pod(nodeName="gone"))


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], fits: bool) -> None:
    made = columns(node("a", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]))
    assert isinstance(decide(made, pod(tolerations=[toleration])), Placed) is fits


def test_soft_taints_put_pods_off() -> None:
    made = columns(node("a", taints=[{"key": "slow", "effect": "PreferNoSchedule"}]), node("b"))
    assert {place(made, pod()) for _ in range(5)} == {"b"}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}, {"a"}),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, {"b", "c"}),
        ({"key": "disk", "operator": "Exists"}, {"a", "b"}),
        ({"key": "disk", "operator": "DoesNotExist"}, {"c"}),
        ({"key": "size", "operator": "Gt", "values": ["5"]}, {"b"}),
        ({"key": "size", "operator": "Lt", "values": ["5"]}, {"a"}),
        ({"key": "disk", "operator": "In", "values": ["never seen"]}, set()),
    ],
)
def test_node_affinity(requirement: dict[str, Any], expected: set[str]) -> None:
    made = columns(
        node("a", labels={"disk": "ssd", "size": "3"}), node("b", labels={"disk": "hdd", "size": "10"}), node("c")
    )
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [requirement]}]
            }
        }
    }
    found = set()
    for name in "abc":
        if isinstance(decide(made, pod(affinity=affinity, nodeName=name)), Placed):
            found.add(name)
    assert found == expected


def test_node_selector_and_preference() -> None:
    made = columns(node("a", labels={"x": "1"}), node("b", labels={"x": "1", "y": "1"}), node("c", labels={"y": "1"}))
    preference = {"weight": 50, "preference": {"matchExpressions": [{"key": "y", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    assert place(made, pod(nodeSelector={"x": "1"}, affinity=affinity)) == "b"
    assert "didn't match Pod's node affinity/selector" in message(made, pod(nodeSelector={"x": "2"}))


def test_host_ports_conflict() -> None:
    made = columns(node("a"))

    def on(ip: str, protocol: str = "TCP") -> PodInfo:
        return pod(container={"ports": [{"hostPort": 80, "containerPort": 80, "hostIP": ip, "protocol": protocol}]})

    place(made, on("127.0.0.1"))
    assert isinstance(decide(made, on("127.0.0.2")), Placed)
    assert isinstance(decide(made, on("127.0.0.1", "UDP")), Placed)
    assert "free ports" in message(made, on("127.0.0.1"))
    assert "free ports" in message(made, on("0.0.0.0"))


def _anti(key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": key}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_is_mutual() -> None:
    made = columns(node("a", zone="z1"), node("b", zone="z1"), node("c", zone="z2"))
    labels = {"app": "web"}
    placed = {place(made, pod(labels=labels, affinity=_anti())) for _ in range(3)}
    assert placed == {"a", "b", "c"}
    assert "anti-affinity rules" in message(made, pod(labels=labels, affinity=_anti()))
    assert "existing pods anti-affinity rules" in message(made, pod(labels=labels))
    assert isinstance(decide(made, pod(labels={"app": "other"})), Placed)


def test_affinity_joins_and_the_first_of_a_group_may_start() -> None:
    made = columns(node("a", zone="z1"), node("b", zone="z2"), node("c"))
    term = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "topology.kubernetes.io/zone"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert "didn't match pod affinity rules" in message(made, pod(labels={"app": "web"}, affinity=affinity))
    first = place(made, pod(labels={"app": "db"}, affinity=affinity))
    assert first in {"a", "b"}
    assert {place(made, pod(labels={"app": "web"}, affinity=affinity)) for _ in range(4)} == {first}


def test_spread_constraints_keep_zones_even() -> None:
    made = columns(node("a", zone="z1"), node("b", zone="z1"), node("c", zone="z2"), node("d"))
    constraint = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    zones = {"a": "z1", "b": "z1", "c": "z2"}
    counts: Counter[str] = Counter()
    for _ in range(8):
        name = place(made, pod(labels={"app": "web"}, topologySpreadConstraints=[constraint]))
        counts[zones[name]] += 1
        assert abs(counts["z1"] - counts["z2"]) <= 1


def test_an_unbound_claim_holds_a_pod_back() -> None:
    made = columns(node("a"))
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    assert 'persistentvolumeclaim "data" not found' in message(made, pod(volumes=volumes))
    claim = {"spec": {}, "status": {"phase": "Pending"}}
    assert "unbound immediate" in message(made, pod(volumes=volumes), claim=lambda key: claim)


def test_rows_are_reused_and_pods_outlive_their_node() -> None:
    made = columns(*(node(f"n{number}") for number in range(40)))
    placed = pod(cpu="3")
    made.put_pod(placed, "n7")
    made.remove_node("n7")
    made.put_node(node("other"))
    assert made.requested["cpu"][made.rows["other"]] == 0
    made.put_node(node("n7"))
    assert made.requested["cpu"][made.rows["n7"]] == 3000
    assert made.remove_pod(placed.uid)
    assert int(made.requested["cpu"].sum()) == 0


def test_images_attract_if_they_are_large() -> None:
    big = {"names": ["web:latest"], "sizeBytes": 900 * 1024 * 1024}
    made = columns(node("a"), node("b", images=[big]), node("c", images=[big]))
    assert {decide(made, pod()).node_name for _ in range(4)} <= {"b", "c"}  # type: ignore[union-attr]
