"""What a pod needs next: a pure function from the pod, what runs of it, and the time.

`compute` is called at every sync of a pod that is to run, and its plan carried out in the order of the plan's fields: stop the pod
or kill containers, make the sandbox, start containers, remove old ones. It converges: when nothing changes outside, the plan after
a plan was carried out is empty. Source: what upstream documents of pod and container lifecycle, and its kuberuntime manager.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet import restart
from pilothouse.kubelet.restart import CrashBackoff, Delay
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, PodRecord
from pilothouse.kubelet.seams import ProbeKind, ProbeResult, ProbeResults

Container = Mapping[str, Any]


class ContainerKind(Enum):
    MAIN = "container"
    INIT = "init container"
    EPHEMERAL = "ephemeral container"


class KillReason(Enum):
    """Why a container is killed: it decides the grace period."""

    OTHER = ""
    LIVENESS = "liveness"
    STARTUP = "startup"


@dataclass(frozen=True, slots=True)
class Kill:
    container_id: str
    name: str
    message: str
    reason: KillReason = KillReason.OTHER


@dataclass(frozen=True, slots=True)
class Start:
    """A container to start. `delay` is the crash-loop delay that holds once it has."""

    name: str
    kind: ContainerKind
    delay: Delay | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A container that waits for its crash-loop delay to pass."""

    name: str
    kind: ContainerKind
    until: float
    delay_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    stop_pod: bool = False
    """Kill all containers and stop the sandboxes: the pod has ended, or its sandbox must be made anew."""
    resets: tuple[Kill, ...] = ()
    """Containers to remove, and to kill first if they run, because the whole pod starts again in its place."""
    kills: tuple[Kill, ...] = ()
    create_sandbox: bool = False
    attempt: int = 0
    """Of the sandbox to create."""
    sandbox_id: str = ""
    """The sandbox to start containers in, or the one that is replaced."""
    starts: tuple[Start, ...] = ()
    held: tuple[Held, ...] = ()
    removals: tuple[str, ...] = ()
    """IDs of containers that nobody asks about any more."""
    sandbox_removals: tuple[str, ...] = ()
    """IDs of sandboxes that were replaced and hold no containers."""

    @property
    def is_empty(self) -> bool:
        acts = (self.resets, self.kills, self.starts, self.removals, self.sandbox_removals)
        return not (self.stop_pod or self.create_sandbox or any(acts))

    @property
    def wake_at(self) -> float | None:
        """When the plan is to be computed again though nothing happens."""
        return min((held.until for held in self.held), default=None)


@dataclass(frozen=True, slots=True)
class Situation:
    """What `compute` decides from."""

    pod: PodView
    record: PodRecord
    results: ProbeResults
    delays: Mapping[str, Delay]
    """Crash-loop delays by container."""
    now: float
    backoff: CrashBackoff


def compute(situation: Situation) -> Plan:
    """The plan for a pod that is not being deleted and has not ended."""
    pod, record = situation.pod, situation.record
    changed, attempt, sandbox_id = sandbox_change(pod, record)
    if changed:
        return _new_sandbox(situation, attempt, sandbox_id)
    if resets := _resets(pod, record):
        return Plan(resets=resets, attempt=attempt, sandbox_id=sandbox_id)
    draft = _Draft()
    for container in pod.spec.get("ephemeralContainers") or ():
        if record.container(container["name"]) is None:
            draft.start(container["name"], ContainerKind.EPHEMERAL)
    initialized = _plan_init(situation, draft)
    if draft.stop_pod:
        return Plan(stop_pod=True, attempt=attempt, sandbox_id=sandbox_id)
    if initialized and not _plan_main(situation, draft):
        return Plan(stop_pod=True, attempt=attempt, sandbox_id=sandbox_id)
    starts, held = _apply_backoff(situation, draft)
    return Plan(
        kills=tuple(draft.kills),
        attempt=attempt,
        sandbox_id=sandbox_id,
        starts=starts,
        held=held,
        removals=_outdated(record),
        sandbox_removals=_replaced(record),
    )


@dataclass(slots=True)
class _Draft:
    stop_pod: bool = False
    kills: list[Kill] = field(default_factory=list)
    ephemeral: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    main: list[str] = field(default_factory=list)

    def start(self, name: str, kind: ContainerKind) -> None:
        names = {ContainerKind.EPHEMERAL: self.ephemeral, ContainerKind.INIT: self.init, ContainerKind.MAIN: self.main}
        if name not in names[kind]:
            names[kind].append(name)

    def kill(self, container: ContainerRecord, message: str, reason: KillReason = KillReason.OTHER) -> None:
        self.kills.append(Kill(container.id, container.name, message, reason))


# Sandboxes


def sandbox_change(pod: PodView, record: PodRecord) -> tuple[bool, int, str]:
    """Whether the pod needs another sandbox, that sandbox's attempt, and the ID of the one there is."""
    if not record.sandboxes:
        return True, 0, ""
    newest = record.sandboxes[0]
    ready = [sandbox for sandbox in record.sandboxes if sandbox.is_ready]
    if len(ready) > 1 or not newest.is_ready:
        return True, newest.attempt + 1, newest.id
    if newest.host_network != pod.host_network:
        return True, newest.attempt + 1, ""
    if not pod.host_network and not newest.ips:
        return True, newest.attempt + 1, newest.id
    return False, newest.attempt, newest.id


def _new_sandbox(situation: Situation, attempt: int, sandbox_id: str) -> Plan:
    pod, record = situation.pod, situation.record
    stop = Plan(stop_pod=True, attempt=attempt, sandbox_id=sandbox_id)
    may_restart = any(restart.restarts_after_kill(container, pod.restart_policy) for container in pod.containers)
    if not may_restart and attempt != 0 and record.containers:
        return stop
    names = [
        container["name"]
        for container in pod.containers
        if not (
            (container.get("restartPolicy") or pod.restart_policy) == restart.ON_FAILURE
            and _succeeded(record, container["name"])
        )
    ]
    if not names and any(record.container(container["name"]) is not None for container in pod.containers):
        return stop
    draft = _Draft()
    if pod.init_containers:
        draft.init = [pod.init_containers[0]["name"]]
    else:
        draft.main = names
    starts, held = _apply_backoff(situation, draft)
    # The init containers of the sandbox that is gone must not count as having run in the new one.
    init_names = {container["name"] for container in pod.init_containers}
    removals = tuple(c.id for c in record.containers if c.name in init_names and not c.is_running)
    return Plan(
        stop_pod=bool(record.sandboxes),
        create_sandbox=True,
        attempt=attempt,
        sandbox_id=sandbox_id,
        starts=starts,
        held=held,
        removals=removals,
    )


def _succeeded(record: PodRecord, name: str) -> bool:
    current = record.container(name)
    return current is not None and current.state is ContainerState.EXITED and current.exit_code == 0


# Restarting all containers in place


def triggers_of_restart(pod: PodView, record: PodRecord) -> frozenset[str]:
    """The names of the containers whose end restarts all containers of the pod (KEP-5532)."""
    return frozenset(
        container["name"]
        for container in (*pod.containers, *pod.init_containers)
        if (current := record.container(container["name"])) is not None
        and current.state is ContainerState.EXITED
        and restart.restarts_all(container, current.exit_code)
    )


def _resets(pod: PodView, record: PodRecord) -> tuple[Kill, ...]:
    """All containers, those that triggered the restart last: a restart that is interrupted is found and finished."""
    triggers = triggers_of_restart(pod, record)
    if not triggers:
        return ()
    rank = {container["name"]: 0 for container in pod.containers}
    rank.update({container["name"]: 1 for container in pod.init_containers})
    ordered = sorted(
        (container for container in record.containers if container.name in rank),
        key=lambda container: (container.name in triggers, rank[container.name]),
    )
    return tuple(Kill(container.id, container.name, "killing") for container in ordered)


# Init containers


def _plan_init(situation: Situation, draft: _Draft) -> bool:
    """Plan init containers and sidecars; whether all that come before the main containers have run (or started, for a sidecar).

    They are looked at from the last to the first, because those before one that has run count as done even if the runtime
    has forgotten them.
    """
    pod, record = situation.pod, situation.record
    containers = pod.init_containers
    if not containers:
        return True
    initialized = any(
        (current := record.container(container["name"])) is not None
        and current.state in (ContainerState.CREATED, ContainerState.RUNNING)
        for container in pod.containers
    )
    later_ran = initialized
    starts: list[int] = []
    for index in reversed(range(len(containers))):
        container = containers[index]
        sidecar = restart.is_sidecar(container)
        current = record.container(container["name"])
        if current is None:
            if later_ran and sidecar:
                starts.append(index)
            continue
        if later_ran and not sidecar:
            continue
        done = (_plan_sidecar if sidecar else _plan_one_init)(situation, draft, starts, index, current)
        if draft.stop_pod:
            return False
        if done and index == len(containers) - 1:
            initialized = True
        elif done and not later_ran:
            starts.append(index + 1)
        later_ran = True
    if not later_ran:
        starts.append(0)
    for index in sorted(set(starts)):
        draft.start(containers[index]["name"], ContainerKind.INIT)
    return initialized


def _plan_one_init(
    situation: Situation, draft: _Draft, starts: list[int], index: int, current: ContainerRecord
) -> bool:
    pod = situation.pod
    container = pod.init_containers[index]
    if current.state is ContainerState.RUNNING:
        return False
    if current.state is ContainerState.CREATED:
        starts.append(index)
        return False
    if current.state is ContainerState.EXITED:
        if current.exit_code == 0:
            return True
        if restart.is_to_start(pod, container, situation.record):
            starts.append(index)
        else:
            draft.stop_pod = True
        return False
    if not restart.restarts_after_kill(container, pod.restart_policy):
        draft.stop_pod = True
        return False
    draft.kill(current, _unknown_state("Init container", current))
    starts.append(index)
    return False


def _plan_sidecar(situation: Situation, draft: _Draft, starts: list[int], index: int, current: ContainerRecord) -> bool:
    container = situation.pod.init_containers[index]
    name = current.name
    if current.state is ContainerState.UNKNOWN:
        draft.kill(current, _unknown_state("Init container", current))
    if current.state is not ContainerState.RUNNING:
        starts.append(index)
        return False
    if container.get("startupProbe"):
        startup = situation.results(ProbeKind.STARTUP, current.id)
        if startup is ProbeResult.FAILURE:
            draft.kill(current, f"Init container {name} failed startup probe", KillReason.STARTUP)
            starts.append(index)
        if startup is not ProbeResult.SUCCESS:
            return False
    if _definition_changed(container, current):
        draft.kill(current, f"Init container {name} definition changed")
        starts.append(index)
    elif situation.results(ProbeKind.LIVENESS, current.id) is ProbeResult.FAILURE:
        draft.kill(current, f"Init container {name} failed liveness probe", KillReason.LIVENESS)
        starts.append(index)
    return True


# Main containers


def _plan_main(situation: Situation, draft: _Draft) -> bool:
    """Plan the main containers; False if none runs and none is to: the pod has ended."""
    pod, record = situation.pod, situation.record
    kept = 0
    for container in pod.containers:
        name = container["name"]
        current = record.container(name)
        if current is None or current.state is not ContainerState.RUNNING:
            if restart.is_to_start(pod, container, record):
                draft.start(name, ContainerKind.MAIN)
                if current is not None and current.state is ContainerState.UNKNOWN:
                    draft.kill(current, _unknown_state("Container", current))
            continue
        again = restart.restarts_after_kill(container, pod.restart_policy)
        reason = KillReason.OTHER
        if _definition_changed(container, current):
            message, again = f"Container {name} definition changed", True
        elif situation.results(ProbeKind.LIVENESS, current.id) is ProbeResult.FAILURE:
            message, reason = f"Container {name} failed liveness probe", KillReason.LIVENESS
        elif situation.results(ProbeKind.STARTUP, current.id) is ProbeResult.FAILURE:
            message, reason = f"Container {name} failed startup probe", KillReason.STARTUP
        else:
            kept += 1
            continue
        if again:
            message += ", will be restarted"
            draft.start(name, ContainerKind.MAIN)
        draft.kill(current, message, reason)
    return bool(kept or draft.main)


def _unknown_state(subject: str, current: ContainerRecord) -> str:
    return f'{subject} is in "{current.state.value}" state, try killing it before restart'


def _definition_changed(container: Container, current: ContainerRecord) -> bool:
    return bool(current.hash) and current.hash != container_hash(container)


def container_hash(container: Container) -> str:
    """Changes when a change of the container's definition must restart it: only its image can be patched."""
    identity = "\0".join((container["name"], container.get("image", "")))
    return f"{zlib.crc32(identity.encode()):x}"


# Back-off and what is left over


def _apply_backoff(situation: Situation, draft: _Draft) -> tuple[tuple[Start, ...], tuple[Held, ...]]:
    """Which of the containers to start may start now. A regular init container that must wait holds back all after it."""
    starts: list[Start] = []
    held: list[Held] = []
    sidecars = {container["name"] for container in situation.pod.init_containers if restart.is_sidecar(container)}
    wanted = [
        *((name, ContainerKind.EPHEMERAL) for name in draft.ephemeral),
        *((name, ContainerKind.INIT) for name in draft.init),
        *((name, ContainerKind.MAIN) for name in draft.main),
    ]
    for name, kind in wanted:
        ended = next(
            (c for c in situation.record.containers if c.name == name and c.state is ContainerState.EXITED), None
        )
        if ended is None:
            starts.append(Start(name, kind))
            continue
        delay = situation.delays.get(name)
        until = situation.backoff.until(delay, ended.finished_at, situation.now)
        if until is None or delay is None:
            starts.append(Start(name, kind, situation.backoff.next(delay, ended.finished_at, situation.now)))
            continue
        held.append(Held(name, kind, until, delay.seconds))
        if kind is ContainerKind.INIT and name not in sidecars:
            break
    return tuple(starts), tuple(held)


def _outdated(record: PodRecord) -> tuple[str, ...]:
    """Ended containers beyond the newest two of each name: the present state, and the last one."""
    seen: dict[str, int] = {}
    outdated = []
    for container in record.containers:
        seen[container.name] = seen.get(container.name, 0) + 1
        if seen[container.name] > 2 and container.state is ContainerState.EXITED:
            outdated.append(container.id)
    return tuple(outdated)


def _replaced(record: PodRecord) -> tuple[str, ...]:
    in_use = {container.sandbox_id for container in record.containers}
    return tuple(s.id for s in record.sandboxes[1:] if not s.is_ready and s.id not in in_use)


# Termination


def termination_order(pod: PodView, running: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Which running containers each running container waits for before it is told to end, within the grace period.

    Sidecars wait for all main containers, and each for the sidecars that were started after it.
    """
    alive = set(running)
    mains = frozenset(container["name"] for container in pod.containers if container["name"] in alive)
    order: dict[str, frozenset[str]] = {name: frozenset() for name in running}
    later: frozenset[str] = frozenset()
    for container in reversed(pod.init_containers):
        if restart.is_sidecar(container):
            if container["name"] in alive:
                order[container["name"]] = mains | later
            later |= {container["name"]} & alive
    return order
