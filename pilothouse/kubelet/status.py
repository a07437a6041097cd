"""The status of a pod: phase, conditions, addresses, containers. Pure.

`compute` gives the whole status that the kubelet wants the API to show. `changes` gives what of it has to be patched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.qos import qos_class
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet import container_status, restart
from pilothouse.kubelet.container_status import ContainerFacts, Waiting
from pilothouse.kubelet.plan import sandbox_change, triggers_of_restart
from pilothouse.kubelet.runtime.records import PodRecord
from pilothouse.kubelet.seams import ProbeResults

OWN_CONDITIONS = frozenset(
    {
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "Ready",
        "PodScheduled",
        "AllContainersRestarting",
    }
)
_TERMINAL = ("Succeeded", "Failed")
Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The kubelet's own decision that ends a pod: a deadline, an eviction, a rejection at admission."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status is made from. `previous` is the status that was computed last, or the API's if there is none yet."""

    pod: PodView
    record: PodRecord
    previous: Status
    waiting: Mapping[str, Waiting]
    results: ProbeResults
    host_ips: Sequence[str]
    runtime_name: str
    now: float
    verdict: Verdict | None = None
    is_finished: bool = False
    """Its containers will not be restarted whatever their policy: the pod is being terminated."""
    may_run: bool = True
    """Whether containers may still have processes; a pod does not get a terminal phase before they are gone."""


@dataclass(frozen=True, slots=True)
class Computed:
    """The status to report, and whether the pod has ended: not yet in `status` while containers of it may run."""

    status: Object
    has_ended: bool


def compute(facts: Facts) -> Computed:
    """The status that follows from the facts."""
    pod, previous = facts.pod, facts.previous
    containers = ContainerFacts(pod, facts.record, facts.waiting, facts.results, facts.runtime_name)
    main = container_status.main_statuses(containers, previous.get("containerStatuses") or ())
    init = container_status.init_statuses(containers, previous.get("initContainerStatuses") or ())
    ephemeral = container_status.ephemeral_statuses(containers, previous.get("ephemeralContainerStatuses") or ())
    computed_phase, reason, message = _phase_and_reason(facts, main, init)
    phase = computed_phase
    if computed_phase in _TERMINAL and facts.may_run and previous.get("phase") not in _TERMINAL:
        phase = previous.get("phase") or "Pending"
        reason, message = previous.get("reason", ""), previous.get("message", "")
    status: Object = {"phase": phase, "observedGeneration": pod.generation}
    if reason:
        status["reason"] = reason
    if message:
        status["message"] = message
    status["conditions"] = _conditions(facts, main, init, phase)
    status["startTime"] = previous.get("startTime") or pod.status.get("startTime") or meta.format_time(facts.now)
    status["qosClass"] = previous.get("qosClass") or pod.status.get("qosClass") or qos_class(pod.spec)
    status.update(_addresses(facts))
    status["containerStatuses"] = main
    if init:
        status["initContainerStatuses"] = init
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    return Computed(status, computed_phase in _TERMINAL)


def _phase_and_reason(facts: Facts, main: Sequence[Status], init: Sequence[Status]) -> tuple[str, str, str]:
    api, previous = facts.pod.status, facts.previous
    computed = phase(facts.pod, main, init, facts.is_finished)
    if computed not in _TERMINAL:
        computed = next((s["phase"] for s in (previous, api) if s.get("phase") in _TERMINAL), computed)
    reason = message = ""
    if computed == previous.get("phase"):
        reason = previous.get("reason") or api.get("reason") or ""
        message = previous.get("message") or api.get("message") or ""
    if facts.verdict is not None:
        computed, reason, message = "Failed", facts.verdict.reason, facts.verdict.message
    if api.get("phase") in _TERMINAL:
        computed = api["phase"]
    return computed, reason, message


def phase(pod: PodView, main: Sequence[Status], init: Sequence[Status], is_finished: bool) -> str:
    """The phase that follows from the containers' statuses."""
    by_name = {status["name"]: status for status in (*main, *init)}
    pending = pending_sidecars = unknown = running = waiting = stopped = final = succeeded = 0
    for container in pod.init_containers:
        status = by_name.get(container["name"])
        state = (status or {}).get("state") or {}
        ended = state.get("terminated") or ((status or {}).get("lastState") or {}).get("terminated")
        if restart.is_sidecar(container):
            if "running" in state:
                running += 1
                pending_sidecars += not (status or {}).get("started")
            elif not ended:
                pending_sidecars += 1
                waiting += 1
        elif "running" in state or not ended:
            pending += 1
        elif ended["exitCode"] != 0 and not restart.restarts_after(container, pod.restart_policy, ended["exitCode"]):
            return "Failed"
    for container in pod.containers:
        status = by_name.get(container["name"])
        state = (status or {}).get("state") or {}
        ended = state.get("terminated") or ((status or {}).get("lastState") or {}).get("terminated")
        if status is None:
            unknown += 1
        elif "running" in state:
            running += 1
        elif ended:
            stopped += 1
            final += not restart.restarts_after(container, pod.restart_policy, ended["exitCode"])
            succeeded += "terminated" in state and ended["exitCode"] == 0
        else:
            waiting += 1
    has_run = any("running" in by_name[c["name"]]["state"] for c in pod.containers if c["name"] in by_name)
    if pending or waiting or (pending_sidecars and not (has_run or stopped)):
        return "Pending"
    if running and not unknown:
        return "Running"
    if stopped and not unknown:
        if is_finished or final == stopped:
            return "Succeeded" if stopped == succeeded else "Failed"
        return "Running"
    return "Pending"


def _addresses(facts: Facts) -> Object:
    pod, previous = facts.pod, facts.previous
    addresses: Object = {}
    if facts.host_ips:
        addresses["hostIP"] = facts.host_ips[0]
        addresses["hostIPs"] = [{"ip": ip} for ip in facts.host_ips]
    if pod.host_network:
        ips = [entry["ip"] for entry in previous.get("podIPs") or ()] or list(facts.host_ips)
    else:
        ips = list(facts.record.ips)
        if not ips and (facts.record.sandboxes or facts.is_finished):
            # Its sandbox has stopped: the address it had is still what the pod was known by.
            ips = [entry["ip"] for entry in previous.get("podIPs") or ()]
    if ips:
        addresses["podIP"] = ips[0]
        addresses["podIPs"] = [{"ip": ip} for ip in ips]
    return addresses


# Conditions


def _conditions(facts: Facts, main: Sequence[Status], init: Sequence[Status], phase: str) -> list[Object]:
    pod = facts.pod
    own = [
        _condition("PodReadyToStartContainers", not sandbox_change(pod, facts.record)[0]),
        _initialized(pod, main, init, phase),
        _ready(pod, main, init, phase),
        _containers_ready(pod, main, init, phase),
        _condition("PodScheduled", True),
    ]
    if _may_restart_all(pod):
        own.append(_restarting_all(pod, facts.record, phase))
    previous = {condition["type"]: condition for condition in facts.previous.get("conditions") or ()}
    foreign = [dict(condition) for condition in pod.conditions if condition["type"] not in OWN_CONDITIONS]
    now = meta.format_time(facts.now)
    for condition in own:
        before = previous.get(condition["type"])
        unchanged = before is not None and before["status"] == condition["status"]
        since = (before.get("lastTransitionTime") if unchanged and before is not None else None) or now
        condition["lastTransitionTime"] = since
        if pod.generation:
            condition["observedGeneration"] = pod.generation
    return [*foreign, *own]


def _may_restart_all(pod: PodView) -> bool:
    return any(
        rule.get("action") == "RestartAllContainers"
        for container in (*pod.containers, *pod.init_containers)
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarting_all(pod: PodView, record: PodRecord, phase: str) -> Object:
    type_ = "AllContainersRestarting"
    if phase in _TERMINAL:
        return _condition(type_, False, "PodCompleted" if phase == "Succeeded" else "PodFailed")
    if triggers_of_restart(pod, record):
        return _condition(type_, True, "RestartAllContainersStarted", "container exited with restart policy rule")
    return _condition(type_, False)


def _condition(type_: str, is_true: bool, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": type_, "status": "True" if is_true else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _go_list(names: Sequence[str]) -> str:
    return f"[{' '.join(names)}]"


def _initialized(pod: PodView, main: Sequence[Status], init: Sequence[Status], phase: str) -> Object:
    if phase == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    if any(
        "running" in s["state"] or "terminated" in s["state"] or (s.get("lastState") or {}).get("terminated")
        for s in main
    ):
        return _condition("Initialized", True)
    incomplete = [
        container["name"]
        for container, status in zip(pod.init_containers, init, strict=True)
        if not status["started" if restart.is_sidecar(container) else "ready"]
    ]
    if incomplete:
        message = f"containers with incomplete status: {_go_list(incomplete)}"
        return _condition("Initialized", False, "ContainersNotInitialized", message)
    return _condition("Initialized", True)


def _containers_ready(pod: PodView, main: Sequence[Status], init: Sequence[Status], phase: str) -> Object:
    if phase == "Succeeded":
        return _condition("ContainersReady", False, "PodCompleted")
    if phase == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    ready = {status["name"]: status["ready"] for status in (*main, *init)}
    relevant = [c["name"] for c in pod.init_containers if restart.is_sidecar(c)] + [c["name"] for c in pod.containers]
    unready = [name for name in relevant if not ready.get(name)]
    if unready:
        message = f"containers with unready status: {_go_list(unready)}"
        return _condition("ContainersReady", False, "ContainersNotReady", message)
    return _condition("ContainersReady", True)


def _ready(pod: PodView, main: Sequence[Status], init: Sequence[Status], phase: str) -> Object:
    containers = _containers_ready(pod, main, init, phase)
    if containers["status"] != "True":
        return {**containers, "type": "Ready"}
    messages = []
    for gate in pod.spec.get("readinessGates") or ():
        type_ = gate["conditionType"]
        condition = meta.condition_of(pod.conditions, type_)
        if condition is None:
            messages.append(f'corresponding condition of pod readiness gate "{type_}" does not exist.')
        elif condition["status"] != "True":
            messages.append(f'the status of pod readiness gate "{type_}" is not "True", but {condition["status"]}')
    if messages:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(messages))
    return _condition("Ready", True)


# What to patch


def changes(shown: Status, wanted: Status) -> Object:
    """The strategic merge patch of `status` that turns what the API shows into what is wanted; empty if nothing differs.

    Only conditions that the kubelet owns are patched, each by its type, so that conditions of others are not overwritten.
    """
    patch: Object = {}
    shown_conditions = {condition["type"]: condition for condition in shown.get("conditions") or ()}
    conditions = [
        _replacing(shown_conditions.get(condition["type"]), condition)
        for condition in wanted.get("conditions") or ()
        if condition["type"] in OWN_CONDITIONS
        and not _same_condition(shown_conditions.get(condition["type"]), condition)
    ]
    if conditions:
        patch["conditions"] = conditions
    for field in _FIELDS:
        if shown.get(field) != wanted.get(field):
            patch[field] = wanted.get(field)
    for field in ("podIPs", "hostIPs"):
        before, after = shown.get(field) or [], wanted.get(field) or []
        if before != after:
            patch[field] = [*after, {"$patch": "replace"}] if before else after
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        if field in wanted and not _same(shown.get(field) or [], wanted[field]):
            patch[field] = wanted[field]
    return patch


_FIELDS = ("phase", "reason", "message", "observedGeneration", "startTime", "qosClass", "podIP", "hostIP")


def _replacing(shown: Status | None, wanted: Status) -> Object:
    """A condition's patch: what it no longer has is set to null, because a merge would keep it."""
    return {**{field: None for field in shown or () if field not in wanted}, **wanted}


def _same_condition(shown: Status | None, wanted: Status) -> bool:
    if shown is None:
        return False
    return all(
        (shown.get(field) or None) == (wanted.get(field) or None)
        for field in ("status", "reason", "message", "lastTransitionTime", "observedGeneration")
    )


def _same(shown: Any, wanted: Any) -> bool:
    """Equality in which an absent field is the same as one that is null."""
    if isinstance(shown, Mapping) and isinstance(wanted, Mapping):
        return all(_same(shown.get(key), wanted.get(key)) for key in shown.keys() | wanted.keys())
    if isinstance(shown, list) and isinstance(wanted, list):
        return len(shown) == len(wanted) and all(_same(a, b) for a, b in zip(shown, wanted, strict=True))
    return bool(shown == wanted)
