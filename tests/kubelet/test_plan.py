from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.meta import UID
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.plan import (
    ContainerKind,
    KillReason,
    Plan,
    Situation,
    Start,
    compute,
    container_hash,
    termination_order,
)
from pilothouse.kubelet.restart import CrashBackoff, Delay, format_delay, restarts_after, restarts_all
from pilothouse.kubelet.runtime.labels import HASH_ANNOTATION
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, PodRecord, SandboxRecord
from pilothouse.kubelet.seams import ProbeKind, ProbeResult

NOW = 1000.0
MAIN = {"name": "main", "image": "i"}
SIDECAR = {"name": "side", "image": "i", "restartPolicy": "Always"}
INIT = {"name": "init", "image": "i"}
SANDBOX = SandboxRecord("s0", UID("u"), "web", "default", 0, True, 1.0, ("10.0.0.1",))


def view(**spec: Any) -> PodView:
    metadata = {"name": "web", "namespace": "default", "uid": "u", **spec.pop("metadata", {})}
    return PodView({"metadata": metadata, "spec": {"containers": [MAIN], **spec}})


def ran(name: str, state: ContainerState = ContainerState.RUNNING, code: int = 0, **rest: Any) -> ContainerRecord:
    finished = NOW - 1 if state is ContainerState.EXITED else 0.0
    return ContainerRecord(f"{name}-id", "s0", name, 0, state, 1.0, finished_at=finished, exit_code=code, **rest)


EXITED = ContainerState.EXITED


def planned(
    pod: PodView,
    *containers: ContainerRecord,
    sandboxes: tuple[SandboxRecord, ...] = (SANDBOX,),
    results: dict[tuple[ProbeKind, str], ProbeResult] | None = None,
    delays: dict[str, Delay] | None = None,
) -> Plan:
    found = results or {}
    return compute(
        Situation(
            pod,
            PodRecord(UID("u"), "web", "default", sandboxes, containers),
            lambda kind, id: found.get((kind, id), ProbeResult.UNKNOWN),
            delays or {},
            NOW,
            CrashBackoff(),
        )
    )


def names(plan: Plan) -> list[str]:
    return [start.name for start in plan.starts]


def test_a_new_pod_gets_a_sandbox_and_its_containers() -> None:
    plan = planned(view(containers=[MAIN, {"name": "two", "image": "i"}]), sandboxes=())
    assert plan.create_sandbox
    assert not plan.stop_pod
    assert plan.attempt == 0
    assert names(plan) == ["main", "two"]


def test_what_runs_is_left_alone() -> None:
    assert planned(view(), ran("main")).is_empty


def test_a_dead_sandbox_is_replaced_by_the_next_attempt() -> None:
    dead = replace(SANDBOX, is_ready=False, attempt=3)
    plan = planned(view(), ran("main", EXITED), sandboxes=(dead,))
    assert (plan.create_sandbox, plan.stop_pod, plan.attempt) == (True, True, 4)
    assert names(plan) == ["main"]


def test_a_dead_sandbox_of_a_pod_that_never_restarts_ends_it() -> None:
    dead = replace(SANDBOX, is_ready=False)
    plan = planned(view(restartPolicy="Never"), ran("main", EXITED), sandboxes=(dead,))
    assert plan.stop_pod
    assert not plan.create_sandbox


def test_a_sandbox_without_address_is_replaced_unless_it_is_on_the_hosts_network() -> None:
    bare = replace(SANDBOX, ips=())
    assert planned(view(), ran("main"), sandboxes=(bare,)).create_sandbox
    on_host = replace(bare, host_network=True)
    assert planned(view(hostNetwork=True), ran("main"), sandboxes=(on_host,)).is_empty


def test_restart_policies() -> None:
    for policy, code, restarts in [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 1, False),
    ]:
        plan = planned(view(restartPolicy=policy), ran("main", EXITED, code))
        assert (names(plan) == ["main"]) is restarts, (policy, code)
        assert plan.stop_pod is not restarts


def test_exit_code_rules_go_before_policies() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    container = {"name": "c", "restartPolicy": "Never", "restartPolicyRules": rules}
    assert restarts_after(container, "Never", 42)
    assert not restarts_after(container, "Always", 1)
    assert not restarts_all(container, 42)


def test_a_crash_loop_is_delayed_and_the_delay_doubles() -> None:
    crashed = ran("main", EXITED, 1)
    first = planned(view(), crashed)
    assert first.starts == (Start("main", ContainerKind.MAIN, Delay(10.0, NOW)),)
    held = planned(view(), crashed, delays={"main": Delay(10.0, NOW - 2)})
    assert not held.starts
    assert held.wake_at == NOW + 9
    assert held.is_empty
    later = planned(view(), replace(crashed, finished_at=NOW - 11), delays={"main": Delay(10.0, NOW - 12)})
    assert later.starts[0].delay == Delay(20.0, NOW)


def test_a_long_run_forgets_the_delay() -> None:
    backoff = CrashBackoff()
    old = Delay(300.0, NOW - 1000)
    assert backoff.until(old, NOW - 1, NOW) is None
    assert backoff.next(old, NOW - 1, NOW) == Delay(10.0, NOW)
    assert backoff.next(Delay(300.0, NOW), NOW, NOW).seconds == 300.0


def test_delays_read_as_go_prints_them() -> None:
    assert [format_delay(s) for s in (10, 80, 300, 3600)] == ["10s", "1m20s", "5m0s", "1h0m0s"]


def test_a_changed_image_restarts_whatever_the_policy() -> None:
    running = ran("main", annotations={HASH_ANNOTATION: container_hash({"name": "main", "image": "old"})})
    plan = planned(view(restartPolicy="Never"), running)
    assert plan.kills[0].message == "Container main definition changed, will be restarted"
    assert names(plan) == ["main"]


def test_failed_probes_kill() -> None:
    failed = {(ProbeKind.LIVENESS, "main-id"): ProbeResult.FAILURE}
    plan = planned(view(), ran("main"), results=failed)
    assert plan.kills[0].message == "Container main failed liveness probe, will be restarted"
    assert plan.kills[0].reason is KillReason.LIVENESS
    never = planned(view(restartPolicy="Never"), ran("main"), results=failed)
    assert never.stop_pod
    assert not never.starts


def test_init_containers_run_one_after_another() -> None:
    pod = view(initContainers=[INIT, {"name": "init2", "image": "i"}])
    assert names(planned(pod, sandboxes=())) == ["init"]
    assert planned(pod, ran("init")).is_empty
    assert names(planned(pod, ran("init", EXITED))) == ["init2"]
    assert names(planned(pod, ran("init2", EXITED), ran("init", EXITED))) == ["main"]
    # The runtime may have forgotten the first: the second could not have run without it.
    assert names(planned(pod, ran("init2", EXITED))) == ["main"]


def test_a_failed_init_container_is_tried_again_or_ends_the_pod() -> None:
    assert names(planned(view(initContainers=[INIT]), ran("init", EXITED, 1))) == ["init"]
    plan = planned(view(initContainers=[INIT], restartPolicy="Never"), ran("init", EXITED, 1))
    assert plan.stop_pod
    assert not plan.starts


def test_init_containers_do_not_run_again_while_main_containers_run() -> None:
    assert planned(view(initContainers=[INIT]), ran("main"), ran("init", EXITED, 1)).is_empty


def test_a_sidecar_starts_before_the_rest_and_is_kept_running() -> None:
    pod = view(initContainers=[SIDECAR, INIT])
    assert names(planned(pod, sandboxes=())) == ["side"]
    assert names(planned(pod, ran("side"))) == ["init"]
    assert names(planned(pod, ran("init", EXITED), ran("side"))) == ["main"]
    assert names(planned(pod, ran("main"), ran("side", EXITED, 1))) == ["side"]


def test_a_sidecar_with_a_startup_probe_holds_the_rest_back() -> None:
    pod = view(initContainers=[{**SIDECAR, "startupProbe": {"exec": {}}}])
    assert planned(pod, ran("side")).is_empty
    started = {(ProbeKind.STARTUP, "side-id"): ProbeResult.SUCCESS}
    assert names(planned(pod, ran("side"), results=started)) == ["main"]
    failed = {(ProbeKind.STARTUP, "side-id"): ProbeResult.FAILURE}
    plan = planned(pod, ran("side"), results=failed)
    assert plan.kills[0].reason is KillReason.STARTUP
    assert names(plan) == ["side"]


def test_sidecars_do_not_keep_a_pod_alive() -> None:
    pod = view(initContainers=[SIDECAR], restartPolicy="OnFailure")
    plan = planned(pod, ran("main", EXITED), ran("side"))
    assert plan.stop_pod
    assert not plan.starts


def test_a_container_in_an_unknown_state_is_killed_before_it_is_started_again() -> None:
    plan = planned(view(), ran("main", ContainerState.UNKNOWN))
    assert [kill.name for kill in plan.kills] == ["main"]
    assert names(plan) == ["main"]


def test_old_containers_are_removed_but_for_the_last_two() -> None:
    old = [replace(ran("main", EXITED, 1), id=f"old{n}") for n in range(3)]
    plan = planned(view(), replace(ran("main"), id="new"), *old)
    assert plan.removals == ("old1", "old2")


def test_replaced_sandboxes_are_removed_once_they_are_empty() -> None:
    old = replace(SANDBOX, id="old", is_ready=False)
    kept = replace(SANDBOX, id="kept", is_ready=False)
    last = replace(ran("main", EXITED, 1), id="last", sandbox_id="kept")
    plan = planned(view(), ran("main"), last, sandboxes=(SANDBOX, old, kept))
    assert plan.sandbox_removals == ("old",)
    assert not plan.removals


def test_ephemeral_containers_start_once() -> None:
    pod = view(ephemeralContainers=[{"name": "debug", "image": "i"}])
    assert names(planned(pod, ran("main"))) == ["debug"]
    assert planned(pod, ran("main"), ran("debug", EXITED, 1)).is_empty


def test_sidecars_end_after_main_containers_in_reverse_order() -> None:
    pod = view(initContainers=[{**SIDECAR, "name": "a"}, INIT, {**SIDECAR, "name": "b"}])
    order = termination_order(pod, ["main", "a", "b"])
    assert order["main"] == frozenset()
    assert order["b"] == {"main"}
    assert order["a"] == {"main", "b"}


def test_an_exit_may_restart_the_whole_pod() -> None:
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
    trigger = {**MAIN, "restartPolicy": "Never", "restartPolicyRules": rules}
    pod = view(restartPolicy="Never", initContainers=[INIT], containers=[trigger, {"name": "two", "image": "i"}])
    plan = planned(pod, ran("two"), ran("main", EXITED, 88), ran("init", EXITED))
    assert [reset.name for reset in plan.resets] == ["two", "init", "main"]
    assert not plan.starts
    assert names(planned(pod)) == ["init"]
    assert not planned(pod, ran("two"), ran("main", EXITED, 1), ran("init", EXITED)).resets


STATES = st.sampled_from([None, *ContainerState])


@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    kinds=st.lists(st.sampled_from(["init", "side"]), max_size=3),
    mains=st.integers(1, 2),
    data=st.data(),
)
def test_plans_converge(policy: str, kinds: list[str], mains: int, data: st.DataObject) -> None:
    """Carried out again and again, with init containers that succeed, a plan comes to an end and only ever then."""
    inits = [
        {"name": f"{kind}{n}", "image": "i", **({"restartPolicy": "Always"} if kind == "side" else {})}
        for n, kind in enumerate(kinds)
    ]
    containers = [{"name": f"main{n}", "image": "i"} for n in range(mains)]
    pod = view(restartPolicy=policy, initContainers=inits, containers=containers)
    runs: dict[str, ContainerRecord] = {}
    for container in (*inits, *containers):
        state = data.draw(STATES)
        if state is not None:
            runs[container["name"]] = ran(container["name"], state, data.draw(st.sampled_from([0, 1])))
    sandboxes: tuple[SandboxRecord, ...] = data.draw(st.sampled_from([(), (SANDBOX,)]))
    for _ in range(20):
        plan = planned(pod, *runs.values(), sandboxes=sandboxes)
        if plan.is_empty:
            running = [name for name, run in runs.items() if name.startswith("init") and run.is_running]
            if running and not any(runs[c["name"]].is_running for c in containers if c["name"] in runs):
                runs.update({name: ran(name, EXITED) for name in running})
                continue
            assert all(runs[c["name"]].state in (ContainerState.RUNNING, EXITED) for c in containers)
            return
        if plan.stop_pod and not plan.create_sandbox:
            return
        if plan.create_sandbox:
            sandboxes = (SANDBOX,)
            runs = {name: replace(run, state=EXITED) for name, run in runs.items() if name.startswith("main")}
        for kill in plan.kills:
            runs[kill.name] = ran(kill.name, EXITED, 137)
        for start in plan.starts:
            ends = start.kind is ContainerKind.INIT and start.name.startswith("init")
            runs[start.name] = ran(start.name, EXITED if ends else ContainerState.RUNNING)
    raise AssertionError("the plan never became empty")
