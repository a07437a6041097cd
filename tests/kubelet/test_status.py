from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pilothouse.api.meta import UID, condition_of
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.container_status import Waiting
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, PodRecord, SandboxRecord
from pilothouse.kubelet.seams import ProbeKind, ProbeResult
from pilothouse.kubelet.status import Computed, Facts, Verdict, changes, compute

SANDBOX = SandboxRecord("s0", UID("u"), "web", "default", 0, True, 1.0, ("10.0.0.1", "fd00::1"))
MAIN = {"name": "main", "image": "i"}
SIDE = {"name": "side", "image": "i", "restartPolicy": "Always"}
INIT = {"name": "init", "image": "i"}
EXITED = ContainerState.EXITED


def view(status: dict[str, Any] | None = None, **spec: Any) -> PodView:
    metadata = {"name": "web", "namespace": "default", "uid": "u", "generation": 2, **spec.pop("metadata", {})}
    return PodView({"metadata": metadata, "spec": {"containers": [MAIN], **spec}, "status": status or {}})


def ran(name: str, state: ContainerState = ContainerState.RUNNING, code: int = 0, n: int = 0) -> ContainerRecord:
    reason = ("Completed" if code == 0 else "Error") if state is EXITED else ""
    return ContainerRecord(
        f"{name}{n}", "s0", name, n, state, 10.0 + n, started_at=11.0, finished_at=12.0, exit_code=code, reason=reason
    )


def computed(
    pod: PodView, *containers: ContainerRecord, results: dict[Any, ProbeResult] | None = None, **rest: Any
) -> Computed:
    found = results or {}
    facts = Facts(
        pod=pod,
        record=PodRecord(UID("u"), "web", "default", (SANDBOX,), containers),
        previous={},
        waiting={},
        results=lambda kind, id: found.get((kind, id), ProbeResult.UNKNOWN),
        host_ips=("192.168.0.1",),
        runtime_name="containerd",
        now=1000.0,
        may_run=any(container.is_running for container in containers),
    )
    return compute(replace(facts, **rest))


def condition(status: Any, type_: str) -> Any:
    found = condition_of(status["conditions"], type_)
    assert found is not None
    return found


def test_a_new_pod_waits() -> None:
    status = computed(view(), record=PodRecord(UID("u"))).status
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "podIP" not in status
    assert condition(status, "PodReadyToStartContainers")["status"] == "False"
    ready = condition(status, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [main]"
    assert ready["observedGeneration"] == 2
    waiting = computed(view(initContainers=[INIT]), record=PodRecord(UID("u"))).status
    assert waiting["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(waiting, "Initialized")["message"] == "containers with incomplete status: [init]"


def test_a_running_pod_is_ready_with_its_addresses() -> None:
    status = computed(view(), ran("main")).status
    assert status["phase"] == "Running"
    assert status["podIPs"] == [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    assert (status["hostIP"], status["startTime"]) == ("192.168.0.1", "1970-01-01T00:16:40Z")
    assert condition(status, "Ready")["status"] == "True"


def test_a_pod_on_the_hosts_network_has_its_address() -> None:
    sandbox = replace(SANDBOX, ips=(), host_network=True)
    record = PodRecord(UID("u"), sandboxes=(sandbox,), containers=(ran("main"),))
    assert computed(view(hostNetwork=True), record=record).status["podIP"] == "192.168.0.1"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        ("Always", 0, "Running"),
        ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 1, "Running"),
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
    ],
)
def test_phases_of_ended_containers(policy: str, code: int, phase: str) -> None:
    result = computed(view(restartPolicy=policy), ran("main", EXITED, code))
    assert result.status["phase"] == phase
    assert result.has_ended == (phase != "Running")
    if result.has_ended:
        reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}[phase]
        assert condition(result.status, "Ready")["reason"] == reason


def test_a_pod_that_is_torn_down_ends_whatever_its_policy() -> None:
    assert computed(view(), ran("main", EXITED, 137), is_finished=True).status["phase"] == "Failed"
    assert computed(view(), ran("main", EXITED, 0), is_finished=True).status["phase"] == "Succeeded"


def test_a_terminal_phase_waits_for_the_last_container() -> None:
    result = computed(view(), ran("main"), verdict=Verdict("Evicted", "too big"), previous={"phase": "Running"})
    assert result.has_ended
    assert (result.status["phase"], result.status.get("reason")) == ("Running", None)
    over = computed(view(), ran("main", EXITED), verdict=Verdict("Evicted", "too big"), previous={"phase": "Running"})
    assert (over.status["phase"], over.status["reason"], over.status["message"]) == ("Failed", "Evicted", "too big")


def test_a_terminal_phase_is_never_left() -> None:
    api = {"phase": "Failed", "reason": "Evicted", "message": "m"}
    status = computed(view(api), ran("main"), previous=api).status
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")


def test_a_container_that_waits_for_its_restart_shows_how_it_ended() -> None:
    waiting = {"main": Waiting("CrashLoopBackOff", "back-off")}
    status = computed(view(), ran("main", EXITED, 1, 1), ran("main", EXITED, 2), waiting=waiting).status
    main = status["containerStatuses"][0]
    assert main["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert main["lastState"]["terminated"]["exitCode"] == 1
    assert main["restartCount"] == 1
    assert status["phase"] == "Running"


def test_a_container_that_the_runtime_forgot_is_remembered() -> None:
    running = computed(view(), ran("main")).status
    status = computed(view(), previous=running).status
    main = status["containerStatuses"][0]
    assert main["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert main["restartCount"] == 1
    assert status["phase"] == "Running"
    ended = computed(view(restartPolicy="Never"), ran("main", EXITED)).status
    assert computed(view(restartPolicy="Never"), previous=ended).status["phase"] == "Succeeded"


def test_init_containers_and_sidecars() -> None:
    pod = view(initContainers=[SIDE, INIT])
    starting = computed(pod, ran("side")).status
    assert starting["phase"] == "Pending"
    assert [s["name"] for s in starting["initContainerStatuses"]] == ["side", "init"]
    assert condition(starting, "Initialized")["message"] == "containers with incomplete status: [init]"
    running = computed(pod, ran("main"), ran("init", EXITED), ran("side")).status
    assert condition(running, "Ready")["status"] == "True"
    down = computed(pod, ran("main"), ran("init", EXITED), ran("side", EXITED, 1)).status
    assert (down["phase"], condition(down, "Initialized")["status"]) == ("Running", "True")
    assert condition(down, "Ready")["message"] == "containers with unready status: [side]"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    pod = view(initContainers=[INIT], restartPolicy="Never")
    assert computed(pod, ran("init", EXITED, 1)).status["phase"] == "Failed"
    assert computed(view(initContainers=[INIT]), ran("init", EXITED, 1)).status["phase"] == "Pending"


def test_probes_decide_started_and_ready() -> None:
    probed = view(containers=[{**MAIN, "readinessProbe": {"exec": {}}, "startupProbe": {"exec": {}}}])
    assert computed(probed, ran("main")).status["containerStatuses"][0]["started"] is False
    started = {(ProbeKind.STARTUP, "main0"): ProbeResult.SUCCESS}
    main = computed(probed, ran("main"), results=started).status["containerStatuses"][0]
    assert (main["started"], main["ready"]) == (True, False)
    ready = {**started, (ProbeKind.READINESS, "main0"): ProbeResult.SUCCESS}
    status = computed(probed, ran("main"), results=ready).status
    assert status["containerStatuses"][0]["ready"] is True
    # A kubelet that has just started has no results yet: what was reported stays.
    assert computed(probed, ran("main"), previous=status).status["containerStatuses"][0]["ready"] is True
    assert computed(probed, ran("main", n=1), previous=status).status["containerStatuses"][0]["ready"] is False


def test_conditions_of_others_and_transition_times_stay() -> None:
    first = computed(view(), ran("main")).status
    foreign = {"type": "example.com/up", "status": "True"}
    later = computed(view({"conditions": [foreign]}), ran("main"), previous=first, now=2000.0).status
    assert later["conditions"][0] == foreign
    assert condition(later, "Ready")["lastTransitionTime"] == condition(first, "Ready")["lastTransitionTime"]


def test_nothing_differs_from_itself() -> None:
    status = computed(view(), ran("main")).status
    assert changes(status, status) == {}
    padded = {**status, "conditions": [{**c, "lastProbeTime": None} for c in status["conditions"]]}
    assert changes(padded, status) == {}


def test_patches_are_small_and_clear_what_is_gone() -> None:
    unready = computed(view(), ran("main", ContainerState.CREATED)).status
    ready = computed(view(), ran("main"), previous=unready, now=2000.0).status
    patch = changes(unready, ready)
    assert {c["type"] for c in patch["conditions"]} == {"Ready", "ContainersReady", "Initialized"} & {
        c["type"] for c in patch["conditions"]
    }
    one = condition(patch, "Ready")
    assert one["reason"] is None
    assert one["message"] is None
    assert "startTime" not in patch
    assert changes({**ready, "reason": "old"}, ready) == {"reason": None}
    moved = {**ready, "podIPs": [{"ip": "10.0.0.9"}]}
    assert changes(moved, ready)["podIPs"][-1] == {"$patch": "replace"}
