"""Where the kubelet's core meets the parts beside it: volumes, environment, probes, cgroups.

Each is small enough for a fake in a test. The core calls them from a pod's worker, never twice at once for one pod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from pilothouse.api.meta import UID, Object
from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.runtime.records import PodRecord
from pilothouse.kubelet.runtime.specs import Device, Mount, Resources

ContainerObject = Mapping[str, Any]
"""A Container (or EphemeralContainer) object as in a pod's spec."""


class ConfigError(Exception):
    """A container cannot be configured as its pod says; the container waits with CreateContainerConfigError and this text."""


class NotMounted(Exception):
    """A volume cannot be set up yet; the text is for the FailedMount event. The worker tries again, with back-off."""


class Volumes(Protocol):
    """Makes the volumes of pods ready on this node."""

    async def set_up(self, pod: Object) -> None:
        """Make all volumes of a pod ready and their contents fresh. Idempotent; called at every sync. Raises NotMounted."""

    def mounts(
        self, pod: Object, container: ContainerObject, environment: Mapping[str, str]
    ) -> tuple[Sequence[Mount], Sequence[Device]]:
        """What a container sees of its pod's volumes, parents before children. `environment` is for subPathExpr.

        Raises ConfigError.
        """

    async def tear_down(self, uid: UID) -> None:
        """Undo `set_up`, also of a pod that an earlier kubelet set up. Idempotent. Raises NotMounted if one will not go."""

    def watch(self, wake: Callable[[UID], None]) -> None:
        """Call `wake` with a pod's UID whenever something outside (a ConfigMap, a claim) makes it worth another `set_up`."""


class Environment(Protocol):
    """Works out the environment of containers."""

    async def variables(
        self, pod: Object, container: ContainerObject, pod_ips: Sequence[str], host_ips: Sequence[str]
    ) -> Sequence[tuple[str, str]]:
        """In order: service links, envFrom, env with `$(NAME)` expanded, as upstream orders them. Raises ConfigError."""


class ProbeKind(Enum):
    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class ProbeResult(Enum):
    UNKNOWN = "unknown"
    SUCCESS = "success"
    FAILURE = "failure"


class ProbeCount(NamedTuple):
    """What probes are counted by. `result` is `successful`, `failed` or `unknown`."""

    uid: UID
    container: str
    kind: ProbeKind
    result: str


ProbeResults = Callable[[ProbeKind, str], ProbeResult]
"""`Prober.result`: the latest settled result of a probe of a container by its ID."""


class Prober(Protocol):
    """Probes containers."""

    def observe(self, pod: Object, record: PodRecord, ips: Sequence[str]) -> None:
        """Take note of a pod as it is now: start to probe its new running containers, stop for those that ended. Cheap."""

    def forget(self, uid: UID) -> None:
        """Stop probing a pod. Idempotent."""

    def stop_liveness(self, uid: UID) -> None:
        """The pod terminates: only readiness is probed from now on."""

    def result(self, kind: ProbeKind, container_id: str) -> ProbeResult:
        """The latest settled result. UNKNOWN before the first, and for a container that has no such probe."""

    def watch(self, wake: Callable[[UID], None]) -> None:
        """Call `wake` with a pod's UID whenever a settled result of one of its containers changes."""

    def totals(self) -> Mapping[ProbeCount, int]:
        """How many probes there have been of the pods that are probed."""

    async def run(self) -> None:
        """Probe until cancelled."""


class Cgroups(Protocol):
    """The cgroups of pods."""

    def set_up(self, pod: Object) -> str:
        """Make the pod's cgroup and return its path: the cgroup_parent of its sandbox. Idempotent."""

    def tear_down(self, uid: UID) -> None:
        """Remove it. Idempotent."""

    def processes(self, pod: Object) -> Sequence[int]:
        """The IDs of the processes in the pod's cgroup, its sandbox's included."""

    def container_resources(self, pod: Object, container: ContainerObject) -> Resources:
        """CPU shares and quota, memory limit, hugepages, oom_score_adj of a container."""

    def pod_resources(self, pod: Object) -> Resources:
        """The same of the pod as a whole."""


class Files(Protocol):
    """The files that the kubelet keeps of pods: hosts files, termination logs, logs."""

    def own_mounts(
        self, pod: PodView, container: ContainerObject, ips: Sequence[str], attempt_token: str
    ) -> list[Mount]:
        """Write the files of a container that is about to start and return their mounts.

        What the pod mounts at those paths itself goes before. `attempt_token` tells apart the starts of one container.
        """

    def prepare_pod(self, pod: PodView) -> None:
        """Make the directories that its sandbox needs."""

    def prepare_container(self, pod: PodView, container: str) -> None:
        """Make the directory that its log is written to."""

    def next_log_number(self, pod: PodView, container: str) -> int:
        """The restart count of a container that the runtime has forgotten: one more than its last log's number."""

    def link_log(self, pod: PodView, container: str, container_id: str, restart_count: int) -> None:
        """Link its log where log collectors look: `/var/log/containers/<pod>_<namespace>_<container>-<id>.log`."""

    def remove_log(self, log_path: str) -> None:
        """Remove a container's log and its rotated parts."""

    def remove_pod(self, uid: UID, namespace: str, name: str) -> None:
        """Remove a pod's directory and, if its name is known, its logs and the links to them. Its volumes are torn down."""

    def left_over(self) -> list[UID]:
        """The pods that have a directory."""
