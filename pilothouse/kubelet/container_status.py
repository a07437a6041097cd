"""The statuses of a pod's containers, from what the runtime has of them. Pure.

What the runtime has forgotten is carried over from the status before: a container that ended stays ended, one that ran and is gone
has ended in an unknown way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.meta import Object, format_time
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet import restart
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState, PodRecord
from pilothouse.kubelet.seams import ProbeKind, ProbeResult, ProbeResults


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run yet: a reason such as ImagePullBackOff, and its text."""

    reason: str
    message: str = ""

    def to_object(self) -> Object:
        return {"reason": self.reason, "message": self.message} if self.message else {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What the statuses are made from. `waiting` is by container: why its last start failed or is held back."""

    pod: PodView
    record: PodRecord
    waiting: Mapping[str, Waiting]
    results: ProbeResults
    runtime_name: str

    @property
    def main_created(self) -> bool:
        return any(self.record.container(container["name"]) is not None for container in self.pod.containers)


def main_statuses(facts: ContainerFacts, previous: Sequence[Mapping[str, Any]]) -> list[Object]:
    """Sorted by name."""
    statuses = _statuses(facts, facts.pod.containers, previous)
    for status, container in zip(statuses, facts.pod.containers, strict=True):
        _probe(facts, status, container, previous)
    return sorted(statuses, key=lambda status: str(status["name"]))


def init_statuses(facts: ContainerFacts, previous: Sequence[Mapping[str, Any]]) -> list[Object]:
    """In the order in which they run."""
    statuses = _statuses(facts, facts.pod.init_containers, previous, is_init=True)
    for status, container in zip(statuses, facts.pod.init_containers, strict=True):
        if restart.is_sidecar(container):
            _probe(facts, status, container, previous)
            continue
        status["started"] = "running" in status["state"]
        status["ready"] = (status["state"].get("terminated") or {}).get("exitCode") == 0
    return statuses


def ephemeral_statuses(facts: ContainerFacts, previous: Sequence[Mapping[str, Any]]) -> list[Object]:
    return _statuses(facts, facts.pod.spec.get("ephemeralContainers") or (), previous)


def _statuses(
    facts: ContainerFacts,
    containers: Sequence[Mapping[str, Any]],
    previous: Sequence[Mapping[str, Any]],
    *,
    is_init: bool = False,
) -> list[Object]:
    old = {status["name"]: status for status in previous}
    return [_status(facts, container, old.get(container["name"]), is_init) for container in containers]


def _status(
    facts: ContainerFacts, container: Mapping[str, Any], old: Mapping[str, Any] | None, is_init: bool
) -> Object:
    name = container["name"]
    records = [record for record in facts.record.containers if record.name == name]
    if records:
        status = _from_record(facts, container, records[0], old)
        if len(records) > 1:
            status["lastState"] = _state(facts, records[1])
    else:
        status = _unrecorded(facts, container, old)
    if mounts := [_mount_status(mount) for mount in container.get("volumeMounts") or ()]:
        status["volumeMounts"] = mounts
    newest = records[0] if records else None
    if is_init:
        if newest is not None and newest.state is ContainerState.EXITED and newest.exit_code == 0:
            return status
        if (
            newest is None
            and facts.main_created
            and not restart.is_sidecar(container)
            and "terminated" not in status["state"]
        ):
            status["state"] = {
                "terminated": {
                    "reason": "Completed",
                    "message": "Unable to get init container status from container runtime and pod has been initialized, "
                    "treat it as exited normally",
                    "exitCode": 0,
                    "startedAt": None,
                    "finishedAt": None,
                }
            }
            return status
    waiting = facts.waiting.get(name)
    if waiting is not None and restart.is_to_start(facts.pod, container, facts.record):
        if "terminated" in status["state"]:
            status["lastState"] = status["state"]
        status["state"] = {"waiting": waiting.to_object()}
    return status


def _from_record(
    facts: ContainerFacts, container: Mapping[str, Any], record: ContainerRecord, old: Mapping[str, Any] | None
) -> Object:
    container_id = f"{facts.runtime_name}://{record.id}"
    resources = container.get("resources") or {}
    status: Object = {
        "name": record.name,
        "state": _state(facts, record),
        "lastState": {},
        "ready": False,
        "restartCount": record.restart_count,
        "image": record.image,
        "imageID": record.image_ref,
        "containerID": container_id,
        "resources": resources,
    }
    if requests := resources.get("requests"):
        status["allocatedResources"] = requests
    if record.user is not None:
        uid, gid, groups = record.user
        status["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}}
    if old is not None:
        status["restartCount"] = max(record.restart_count, old.get("restartCount", 0))
        old_state = old.get("state") or {}
        if old.get("containerID") != container_id and old_state.get("terminated"):
            status["lastState"] = {"terminated": old_state["terminated"]}
        elif (old.get("lastState") or {}).get("terminated"):
            status["lastState"] = old["lastState"]
        if record.state is ContainerState.UNKNOWN and old_state.get("running"):
            status["state"] = {"terminated": _lost("The container could not be located when the pod was terminated")}
            status["restartCount"] = old.get("restartCount", 0) + 1
    return status


def _unrecorded(facts: ContainerFacts, container: Mapping[str, Any], old: Mapping[str, Any] | None) -> Object:
    if old is not None and (old.get("state") or {}).get("terminated"):
        return dict(old)
    default = "PodInitializing" if facts.pod.init_containers else "ContainerCreating"
    status: Object = {
        "name": container["name"],
        "state": {"waiting": {"reason": default}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": container.get("image", ""),
        "imageID": "",
    }
    if old is None:
        return status
    status["restartCount"] = old.get("restartCount", 0)
    status["lastState"] = old.get("lastState") or {}
    if (old.get("state") or {}).get("running") and not status["lastState"].get("terminated"):
        # Waiting alone would turn a pod that ran back into Pending.
        message = "The container could not be located when the pod was deleted.  The container used to be Running"
        status["lastState"] = {"terminated": _lost(message)}
        if not facts.pod.is_deleting:
            status["restartCount"] += 1
    return status


def _lost(message: str) -> Object:
    return {
        "reason": "ContainerStatusUnknown",
        "message": message,
        "exitCode": 137,
        "startedAt": None,
        "finishedAt": None,
    }


def _state(facts: ContainerFacts, record: ContainerRecord) -> Object:
    if record.state is ContainerState.RUNNING:
        return {"running": {"startedAt": format_time(record.started_at)}}
    if record.state is not ContainerState.EXITED:
        return {"waiting": {}}
    terminated: Object = {"exitCode": record.exit_code}
    if record.reason:
        terminated["reason"] = record.reason
    if record.message:
        terminated["message"] = record.message
    terminated["startedAt"] = format_time(record.started_at)
    terminated["finishedAt"] = format_time(record.finished_at)
    terminated["containerID"] = f"{facts.runtime_name}://{record.id}"
    return {"terminated": terminated}


def _mount_status(mount: Mapping[str, Any]) -> Object:
    status = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        mode = mount.get("recursiveReadOnly")
        status["readOnly"] = True
        status["recursiveReadOnly"] = "Enabled" if mode == "Enabled" else "Disabled"
    return status


def _probe(
    facts: ContainerFacts, status: Object, container: Mapping[str, Any], previous: Sequence[Mapping[str, Any]]
) -> None:
    """Set `started` and `ready`. Until a probe has a result, what was reported of the same container stays true."""
    running = "running" in status["state"]
    container_id = str(status.get("containerID", "")).rpartition("/")[2]
    before = next(
        (
            old
            for old in previous
            if old["name"] == status["name"] and old.get("containerID") == status.get("containerID")
        ),
        None,
    )

    def passes(kind: ProbeKind, field: str, flag: str) -> bool:
        if not running:
            return False
        if not container.get(field):
            return True
        result = facts.results(kind, container_id)
        if result is ProbeResult.UNKNOWN:
            return bool(running and container_id and before and before.get(flag))
        return result is ProbeResult.SUCCESS

    status["started"] = passes(ProbeKind.STARTUP, "startupProbe", "started")
    status["ready"] = status["started"] and passes(ProbeKind.READINESS, "readinessProbe", "ready")
