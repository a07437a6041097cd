"""The state of a pod in three words, as `kubectl get pods` shows it: READY, STATUS, RESTARTS. Source: upstream `printPod`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pilothouse.api import duration
from pilothouse.api.meta import is_condition_true

View = Mapping[str, Any]


class Summary(NamedTuple):
    ready: str
    status: str
    restarts: str


class _Tally:
    """What a walk over container statuses counts."""

    def __init__(self) -> None:
        self.restarts = 0
        self.last_restart = ""

    def count(self, container: View) -> None:
        self.restarts += container.get("restartCount", 0)
        ended = (container.get("lastState") or {}).get("terminated")
        if ended and ended.get("finishedAt"):
            # Timestamps of one form and one zone sort as text.
            self.last_restart = max(self.last_restart, ended["finishedAt"])


def summary(pod: View, now: float) -> Summary:
    """The three cells of a pod at the time `now`."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    reason = status.get("reason") or status.get("phase", "")
    conditions = status.get("conditions") or ()
    if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in conditions):
        reason = "SchedulingGated"
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    everything, sidecars_only = _Tally(), _Tally()
    blocked, ready = _initializing(spec, status, sidecars, everything, sidecars_only)
    tally = everything
    if blocked is not None:
        reason = blocked
    if blocked is None or is_condition_true(conditions, "Initialized"):
        tally = sidecars_only
        reason, running = _main(status.get("containerStatuses") or (), reason, conditions, tally)
        ready += running
    if "deletionTimestamp" in pod["metadata"]:
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Failed", "Succeeded"):
            reason = "Terminating"
    restarts = str(tally.restarts)
    if tally.restarts and tally.last_restart:
        restarts = f"{tally.restarts} ({duration.age(tally.last_restart, now)} ago)"
    return Summary(f"{ready}/{total}", reason, restarts)


def _initializing(
    spec: View, status: View, sidecars: set[str], everything: _Tally, sidecars_only: _Tally
) -> tuple[str | None, int]:
    """What the first unfinished init container is at, or None if all are done; and how many sidecars are ready."""
    ready = 0
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        everything.count(container)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecars_only.count(container)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or _exit(ended)}", ready
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}", ready
        return f"Init:{index}/{len(spec.get('initContainers') or ())}", ready
    return None, ready


def _main(containers: Sequence[View], reason: str, conditions: Sequence[View], tally: _Tally) -> tuple[str, int]:
    """The reason by the main containers, the first of them last; and how many are ready."""
    ready = 0
    error = ""
    for container in reversed(containers):
        tally.count(container)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = ended.get("reason") or _exit(ended)
            if ended.get("exitCode"):
                error = reason
        elif container.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed":
        if ready and is_condition_true(conditions, "Ready"):
            reason = "Running"
        elif error:
            reason = error
        elif ready:
            reason = "NotReady"
    return reason, ready


def _exit(ended: View) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
