"""Whether and when a container that ended runs again. Pure.

Restart policies of pods and containers, with the exit-code rules of KEP-5307, and the crash-loop back-off: 10 s, doubled at each
restart up to 300 s, forgotten when a container has run for twice the longest delay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.runtime.records import ContainerState, PodRecord

ALWAYS, ON_FAILURE, NEVER = "Always", "OnFailure", "Never"


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container is a restartable one. (A main container with that policy is none: ask for init containers only.)"""
    return container.get("restartPolicy") == ALWAYS


def restarts_after(container: Mapping[str, Any], pod_policy: str, exit_code: int) -> bool:
    """Whether a container that ended with `exit_code` is to run again."""
    own_policy = container.get("restartPolicy")
    if own_policy and _matching_rule(container, exit_code) is not None:
        return True
    policy = own_policy or pod_policy
    return policy == ALWAYS or (policy == ON_FAILURE and exit_code != 0)


def restarts_after_kill(container: Mapping[str, Any], pod_policy: str) -> bool:
    """Whether a container that the kubelet kills (a failed probe) is to run again."""
    return (container.get("restartPolicy") or pod_policy) != NEVER


def _matching_rule(container: Mapping[str, Any], exit_code: int) -> Mapping[str, Any] | None:
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        listed = exit_code in (codes.get("values") or ())
        if (codes.get("operator") == "In" and listed) or (codes.get("operator") == "NotIn" and not listed):
            matched: Mapping[str, Any] = rule
            return matched
    return None


def restarts_all(container: Mapping[str, Any], exit_code: int) -> bool:
    """Whether that exit restarts the whole pod in place (KEP-5532)."""
    if not container.get("restartPolicy"):
        return False
    rule = _matching_rule(container, exit_code)
    return rule is not None and rule.get("action") == "RestartAllContainers"


def is_to_start(pod: PodView, container: Mapping[str, Any], record: PodRecord) -> bool:
    """Whether a container is to be started, back-off aside: it never ran, or it ended and its policy runs it again."""
    if pod.is_deleting:
        return False
    current = record.container(container["name"])
    if current is None:
        return True
    if current.state is ContainerState.RUNNING:
        return False
    if current.state is not ContainerState.EXITED:
        return True
    return restarts_after(container, pod.restart_policy, current.exit_code)


@dataclass(frozen=True, slots=True)
class Delay:
    """A crash-loop delay of one container: how long, and when it was last lengthened."""

    seconds: float
    since: float


@dataclass(frozen=True, slots=True)
class CrashBackoff:
    """The rule by which delays grow."""

    initial_s: float = 10.0
    max_s: float = 300.0

    def until(self, delay: Delay | None, finished_at: float, now: float) -> float | None:
        """When a container that ended at `finished_at` may start again; None if it may now."""
        if delay is None or self._is_forgotten(delay, finished_at):
            return None
        until = finished_at + delay.seconds
        return until if until > now else None

    def next(self, delay: Delay | None, finished_at: float, now: float) -> Delay:
        """The delay that holds after a restart now."""
        if delay is None or self._is_forgotten(delay, finished_at):
            return Delay(self.initial_s, now)
        return Delay(min(delay.seconds * 2, self.max_s), now)

    def _is_forgotten(self, delay: Delay, finished_at: float) -> bool:
        return finished_at - delay.since > 2 * self.max_s


def format_delay(seconds: float) -> str:
    """As Go prints a duration: `10s`, `1m20s`, `5m0s`."""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
