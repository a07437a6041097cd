"""Rules about pods: claiming, ranking, replica counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import meta, selector, status
from pilothouse.api.gvr import REPLICA_SETS
from pilothouse.api.meta import Object
from pilothouse.controllers import pods
from pilothouse.controllers.expectations import EXPECTATIONS_S, Expectations
from pilothouse.controllers.replicaset import BURST_REPLICAS, plan, status_of
from pilothouse.kit.clock import VirtualClock

NOW = 1_700_000_000.0


def pod(name: str, *, ready_for: float | None = None, age: float = 1000, **changes: Any) -> Object:
    conditions = []
    if ready_for is not None:
        since = meta.format_time(NOW - ready_for)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "labels": changes.pop("labels", {"app": "web"}),
        "annotations": changes.pop("annotations", {}),
        "creationTimestamp": meta.format_time(NOW - age),
    } | changes.pop("metadata", {})
    status_ = {"phase": changes.pop("phase", "Running"), "conditions": conditions}
    if restarts := changes.pop("restarts", 0):
        status_["containerStatuses"] = [{"name": "c", "restartCount": restarts}]
    return {"metadata": metadata, "spec": {"nodeName": changes.pop("node", "n1")}, "status": status_}


def owner(replicas: int = 3, **metadata: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "rs", "generation": 4, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}},
        },
    }


def names(objs: Any) -> list[str]:
    return [meta.name_of(obj) for obj in objs]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (pod("a", node=""), pod("b", node="n1", phase="Pending")),
        (pod("a", phase="Pending"), pod("b")),
        (pod("a"), pod("b", ready_for=1)),
        (pod("a", ready_for=9000, annotations={pods.DELETION_COST: "-5"}), pod("b", ready_for=1)),
        (pod("a", ready_for=9000, node="full"), pod("b", ready_for=1, node="empty")),
        (pod("a", ready_for=1), pod("b", ready_for=500)),
        (pod("a", ready_for=500, restarts=3), pod("b", ready_for=500)),
        (pod("a", age=10), pod("b", age=5000)),
    ],
)
def test_which_pod_is_deleted_first(better: Object, worse: Object) -> None:
    related = [better, worse, pod("c", node="full"), pod("d", node="full")]
    assert names(pods.deletion_order([worse, better], related, NOW)) == ["a", "b"]
    assert names(pods.deletion_order([better, worse], related, NOW)) == ["a", "b"]


def test_who_owns_what() -> None:
    mine = {"ownerReferences": [meta.controller_reference(owner(), REPLICA_SETS)]}
    theirs = {"ownerReferences": [{**mine["ownerReferences"][0], "uid": "other"}]}
    objs = [
        pod("kept", metadata=mine),
        pod("released", metadata=mine, labels={"app": "x"}),
        pod("adopted"),
        pod("unrelated", labels={}),
        pod("foreign", metadata=theirs),
        pod("going", metadata={"deletionTimestamp": "2024-01-01T00:00:00Z"}),
    ]
    selects = selector.from_object({"matchLabels": {"app": "web"}})
    found = pods.claim(owner(), selects, objs)
    assert (names(found.kept), names(found.adopt), names(found.release)) == (["kept"], ["adopted"], ["released"])
    going = pods.claim(owner(deletionTimestamp="2024-01-01T00:00:00Z"), selects, objs)
    assert (names(going.kept), names(going.adopt), names(going.release)) == (["kept"], [], [])


@given(st.integers(0, 1200), st.integers(0, 1200))
def test_the_plan_goes_in_one_direction_and_within_its_burst(replicas: int, count: int) -> None:
    active = [pod(f"p{number}", ready_for=number + 1) for number in range(count)]
    actions = plan(owner(replicas), active, active, NOW)
    difference = replicas - count
    assert actions.create == min(max(difference, 0), BURST_REPLICAS)
    assert len(actions.delete) == min(max(-difference, 0), BURST_REPLICAS)


def test_the_status_counts_and_keeps_why_it_failed() -> None:
    active = [pod("a", ready_for=5), pod("b", ready_for=100), pod("c", labels={"app": "web", "x": "y"})]
    wanted = owner(5)
    wanted["spec"]["minReadySeconds"] = 60
    found = status_of(wanted, active, 1, status.Forbidden("quota exceeded"), NOW)
    condition = found.pop("conditions")[0]
    assert found == {
        "replicas": 3,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "terminatingReplicas": 1,
        "observedGeneration": 4,
    }
    assert (condition["reason"], condition["message"]) == ("FailedCreate", "quota exceeded")
    again = {**wanted, "status": {**found, "conditions": [condition]}}
    assert status_of(again, active, 1, status.Forbidden("other"), NOW + 5)["conditions"] == [condition]
    assert "conditions" not in status_of(again, active, 1, None, NOW + 5)
    assert pods.next_availability_s(active, 60, NOW) == 55


async def test_slow_start_stops_at_the_first_batch_that_fails() -> None:
    calls = 0

    async def create() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise status.Forbidden("quota exceeded")

    succeeded, failure = await pods.slow_start(100, create)
    assert (succeeded, calls) == (3, 7)
    assert isinstance(failure, status.Forbidden)


async def test_expectations_are_met_seen_or_too_old() -> None:
    clock = VirtualClock()
    expected = Expectations(clock)
    expected.expect_creations("k", 2)
    expected.expect_deletions("k", ["u1"])
    expected.creation_observed("k")
    expected.creation_observed("k")
    expected.deletion_observed("k", "u2")
    assert not expected.are_met("k")
    expected.deletion_observed("k", "u1")
    assert expected.are_met("k")
    expected.expect_creations("k", 1)
    await clock.advance(EXPECTATIONS_S - 1)
    assert expected.remaining_s("k") == 1
    await clock.advance(1)
    assert expected.are_met("k")
