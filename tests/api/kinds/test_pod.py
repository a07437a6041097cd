"""Pods: what creating and updating derives, and the words that tables use for their state."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.kinds.core.pod_state import summary
from pilothouse.api.meta import Object, parse_time

NOW = parse_time("2026-01-01T00:10:00Z")


def status_of(name: str = "c", **state: Any) -> Object:
    ready = state.pop("ready", False)
    restarts = state.pop("restarts", 0)
    last = state.pop("last", None)
    status: Object = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if last:
        status["lastState"] = {"terminated": {"finishedAt": last, "exitCode": 1}}
    return status


RUNNING = {"startedAt": "2026-01-01T00:00:00Z"}
DONE = {"exitCode": 0, "reason": "Completed"}


@pytest.mark.parametrize(
    ("status", "init", "cells"),
    [
        ({"phase": "Pending"}, [], ("0/1", "Pending", "0")),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            [],
            ("0/1", "SchedulingGated", "0"),
        ),
        ({"phase": "Running", "containerStatuses": [status_of(running=RUNNING, ready=True)]}, [], ("1/1", "Running", "0")),
        (
            {"containerStatuses": [status_of(waiting={"reason": "CrashLoopBackOff"}, restarts=3, last="2026-01-01T00:09:55Z")]},
            [],
            ("0/1", "CrashLoopBackOff", "3 (5s ago)"),
        ),
        ({"phase": "Succeeded", "containerStatuses": [status_of(terminated=DONE)]}, [], ("0/1", "Completed", "0")),
        ({"phase": "Failed", "containerStatuses": [status_of(terminated={"exitCode": 2})]}, [], ("0/1", "ExitCode:2", "0")),
        ({"phase": "Failed", "containerStatuses": [status_of(terminated={"signal": 9, "exitCode": 1})]}, [], ("0/1", "Signal:9", "0")),
        ({"phase": "Failed", "reason": "Evicted"}, [], ("0/1", "Evicted", "0")),
        (
            {"phase": "Pending", "initContainerStatuses": [status_of("i", terminated=DONE), status_of("j", running=RUNNING)]},
            [{"name": "i"}, {"name": "j"}],
            ("0/1", "Init:1/2", "0"),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [status_of("i", waiting={"reason": "ImagePullBackOff"}, restarts=1)]},
            [{"name": "i"}],
            ("0/1", "Init:ImagePullBackOff", "1"),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [status_of("i", terminated={"exitCode": 1, "reason": "Error"})]},
            [{"name": "i"}],
            ("0/1", "Init:Error", "0"),
        ),
        (
            {
                "phase": "Running",
                "initContainerStatuses": [{**status_of("s", running=RUNNING, ready=True), "started": True}],
                "containerStatuses": [status_of(running=RUNNING, ready=True)],
            },
            [{"name": "s", "restartPolicy": "Always"}],
            ("2/2", "Running", "0"),
        ),
    ],
)  # fmt: skip
def test_the_state_of_a_pod(status: Object, init: list[Object], cells: tuple[str, str, str]) -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}], "initContainers": init}, "status": status}
    assert summary(pod, NOW) == cells


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"phase": "Running"}, "Terminating"),
        ({"phase": "Running", "reason": "NodeLost"}, "Unknown"),
        ({"phase": "Failed"}, "Failed"),
    ],
)
def test_a_pod_on_its_way_out(status: Object, shown: str) -> None:
    pod = {"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": status}
    assert summary(pod, NOW).status == shown


def test_completed_containers_beside_running_ones() -> None:
    statuses = [status_of(terminated=DONE), status_of("d", running=RUNNING, ready=True)]
    pod: Object = {
        "metadata": {"name": "a"},
        "spec": {"containers": [{}, {}]},
        "status": {"containerStatuses": statuses},
    }
    assert summary(pod, NOW)[:2] == ("1/2", "NotReady")
    pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert summary(pod, NOW)[:2] == ("1/2", "Running")


def test_a_new_pod_has_only_the_status_that_the_server_gives() -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    resources = {"limits": limits, "requests": dict(limits)}
    pod: Object = {
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "spec": {
            "containers": [{"name": "c", "resources": resources}],
            "schedulingGates": [{"name": "g"}],
            "topologySpreadConstraints": [{"matchLabelKeys": ["app", "none"], "labelSelector": {}}],
        },
        "status": {"phase": "Running", "podIP": "1.2.3.4"},
    }
    POD.prepare_create(pod)
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["qosClass"] == "Guaranteed"
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert "podIP" not in pod["status"]
    requirement = {"key": "app", "operator": "In", "values": ["x"]}
    assert pod["spec"]["topologySpreadConstraints"][0]["labelSelector"] == {"matchExpressions": [requirement]}


def test_a_status_update_cannot_touch_owners_or_forget_the_quality_of_service() -> None:
    old = {"metadata": {"name": "a", "ownerReferences": [{"uid": "u"}]}, "status": {"qosClass": "Burstable"}}
    draft: Object = {"metadata": {"name": "a"}, "status": {"phase": "Running"}}
    POD.prepare_status_update(draft, old)
    assert draft["metadata"]["ownerReferences"] == [{"uid": "u"}]
    assert draft["status"] == {"phase": "Running", "qosClass": "Burstable"}


@pytest.mark.parametrize(
    ("pod", "grace_s"),
    [
        ({"spec": {"terminationGracePeriodSeconds": 30}}, 0),
        ({"spec": {"terminationGracePeriodSeconds": 30, "nodeName": "n"}}, 30),
        ({"spec": {"terminationGracePeriodSeconds": -1, "nodeName": "n"}}, 1),
        ({"spec": {"terminationGracePeriodSeconds": 30, "nodeName": "n"}, "status": {"phase": "Failed"}}, 0),
    ],
)
def test_grace_periods(pod: Object, grace_s: int) -> None:
    assert POD.grace_period_s is not None
    assert POD.grace_period_s(pod, None) == grace_s
