"""The cgroups of pods, on version 1 (also beside an empty version 2) and on version 2.

A pod's cgroup lies under `kubepods`, by its class of service, and bounds its containers together. On version 2 under systemd the names
are those of slices, which runc's systemd driver expects; the directories are made here either way. Source: `pkg/kubelet/cm`.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from pilothouse.api.meta import UID, Object
from pilothouse.api.placement import amounts, pod_limits, pod_requests
from pilothouse.api.qos import BEST_EFFORT, GUARANTEED, qos_class
from pilothouse.api.views.pod import PodView
from pilothouse.kit.log import get_logger
from pilothouse.kubelet.qos import oom_score_adj
from pilothouse.kubelet.runtime.specs import Resources
from pilothouse.kubelet.seams import ContainerObject

log = get_logger("pilothouse.kubelet.cgroups")

MIN_SHARES, MAX_SHARES, SHARES_PER_CPU = 2, 262144, 1024
PERIOD_US = 100_000
MIN_QUOTA_US = 1000
V1_CONTROLLERS = ("cpu", "memory", "pids")
V2_CONTROLLERS = "+cpu +memory +pids"
ROOT = "kubepods"


class Naming(Enum):
    """How cgroups are named: as plain directories, or as systemd's slices."""

    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


class PodCgroups:
    """Pods' cgroups under `mount`, usually `/sys/fs/cgroup`. `memory_bytes` is the machine's."""

    def __init__(self, naming: Naming, memory_bytes: int, mount: Path = Path("/sys/fs/cgroup")) -> None:
        self._naming = naming
        self._memory_bytes = memory_bytes
        self._mount = mount
        self._is_v2 = (mount / "cgroup.controllers").exists()

    def set_up(self, pod: Object) -> str:
        view = PodView(pod)
        parts = self._parts(view.uid, qos_class(view.spec))
        resources = self.pod_resources(pod)
        if self._is_v2:
            self._make_v2(parts, resources)
        else:
            for controller in V1_CONTROLLERS:
                self._make_v1(controller, parts, resources)
        return parts[-1] if self._naming is Naming.SYSTEMD else "/" + "/".join(parts)

    def tear_down(self, uid: UID) -> None:
        # On version 1 the runtime makes a pod's cgroup in every hierarchy there is, not only in those that are bounded here.
        roots = [self._mount] if self._is_v2 else [path for path in self._mount.iterdir() if path.is_dir()]
        for qos in (GUARANTEED, BEST_EFFORT, "Burstable"):
            for root in roots:
                _remove(root.joinpath(*self._parts(uid, qos)))

    def processes(self, pod: Object) -> list[int]:
        view = PodView(pod)
        root = self._mount if self._is_v2 else self._mount / "pids"
        directory = root.joinpath(*self._parts(view.uid, qos_class(view.spec)))
        found: list[int] = []
        for file in directory.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found += map(int, file.read_text().split())
        return found

    def container_resources(self, pod: Object, container: ContainerObject) -> Resources:
        spec = PodView(pod).spec
        given = container.get("resources") or {}
        requests, limits = amounts(given.get("requests")), amounts(given.get("limits"))
        cpu_limit, memory_limit = limits.get("cpu", 0), limits.get("memory", 0)
        qos = qos_class(spec)
        return Resources(
            cpu_shares=_shares(requests.get("cpu", cpu_limit)),
            cpu_quota=_quota(cpu_limit),
            cpu_period=PERIOD_US if cpu_limit else 0,
            memory_limit_bytes=memory_limit,
            oom_score_adj=oom_score_adj(spec, qos, container, self._memory_bytes),
            hugepage_limits=_hugepages(limits),
        )

    def pod_resources(self, pod: Object) -> Resources:
        """A pod is bounded in what all of its containers are bounded in."""
        spec = PodView(pod).spec
        requests, limits = pod_requests(spec), pod_limits(spec)
        own = (spec.get("resources") or {}).get("limits") or {}
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        bounded = {
            name: name in own or all(((c.get("resources") or {}).get("limits") or {}).get(name) for c in containers)
            for name in ("cpu", "memory")
        }
        cpu_limit = limits.get("cpu", 0) if bounded["cpu"] else 0
        return Resources(
            cpu_shares=_shares(requests.get("cpu", 0)),
            cpu_quota=_quota(cpu_limit),
            cpu_period=PERIOD_US if cpu_limit else 0,
            memory_limit_bytes=limits.get("memory", 0) if bounded["memory"] else 0,
            hugepage_limits=_hugepages(limits),
        )

    def _parts(self, uid: UID, qos: str) -> list[str]:
        """The names from the root down to the pod's cgroup."""
        names = [ROOT, *([] if qos == GUARANTEED else [qos.lower()]), f"pod{uid}"]
        if self._naming is Naming.CGROUPFS:
            return names
        escaped = [name.replace("-", "_") for name in names]
        return ["-".join(escaped[: depth + 1]) + ".slice" for depth in range(len(escaped))]

    def _make_v1(self, controller: str, parts: list[str], resources: Resources) -> None:
        directory = self._mount / controller
        if not directory.is_dir():
            return
        directory = directory.joinpath(*parts)
        directory.mkdir(parents=True, exist_ok=True)
        if controller == "cpu":
            _write(directory / "cpu.shares", resources.cpu_shares)
            if resources.cpu_quota:
                _write(directory / "cpu.cfs_period_us", resources.cpu_period)
                _write(directory / "cpu.cfs_quota_us", resources.cpu_quota)
        elif controller == "memory" and resources.memory_limit_bytes:
            _write(directory / "memory.limit_in_bytes", resources.memory_limit_bytes)

    def _make_v2(self, parts: list[str], resources: Resources) -> None:
        directory = self._mount
        for part in parts:
            _write(directory / "cgroup.subtree_control", V2_CONTROLLERS)
            directory = directory / part
            directory.mkdir(exist_ok=True)
        _write(directory / "cgroup.subtree_control", V2_CONTROLLERS)
        weight = 1 + (resources.cpu_shares - MIN_SHARES) * 9999 // (MAX_SHARES - MIN_SHARES)
        _write(directory / "cpu.weight", weight)
        if resources.cpu_quota:
            _write(directory / "cpu.max", f"{resources.cpu_quota} {resources.cpu_period}")
        if resources.memory_limit_bytes:
            _write(directory / "memory.max", resources.memory_limit_bytes)


def _shares(cpu_milli: int) -> int:
    return min(max(cpu_milli * SHARES_PER_CPU // 1000, MIN_SHARES), MAX_SHARES)


def _quota(cpu_milli: int) -> int:
    return max(cpu_milli * PERIOD_US // 1000, MIN_QUOTA_US) if cpu_milli else 0


def _hugepages(limits: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix("hugepages-"): size for name, size in limits.items() if name.startswith("hugepages-")}


def _write(file: Path, value: object) -> None:
    """Set a value; what this kernel or its delegation does not let be set is left as it is, and told."""
    try:
        file.write_text(str(value))
    except OSError as error:
        log.warning("a cgroup value could not be set", file=file, value=value, reason=error.strerror)


def _remove(directory: Path) -> None:
    """Remove a cgroup and those below it, which must have no processes left."""
    if not directory.is_dir():
        return
    for child in sorted(directory.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if child.is_dir():
            _rmdir(child)
    _rmdir(directory)


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY):
            raise
