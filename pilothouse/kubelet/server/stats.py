"""`/stats/summary`: what the node, its pods and their containers use.

Collected when asked for. Rates (`usageNanoCores`) come from two looks at a cumulative counter, so a container has one from the second
request on. Walks over volumes are remembered for a minute. Source: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pilothouse.api.meta import Object, uid_of
from pilothouse.api.views.pod import PodView
from pilothouse.kit.clock import Clock
from pilothouse.kubelet.kubelet import Kubelet
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerUsage, FilesystemUsage, PodRecord
from pilothouse.kubelet.server import machine_usage
from pilothouse.kubelet.server.machine_usage import Interface, NodeUsage, Space

_VOLUME_PERIOD_S = 60.0
_RATE_PERIOD_S = 1.0
_POD_ENDS = ("veth", "docker", "nerdctl")
_VOLUME_SOURCES = ("emptyDir", "configMap", "secret", "projected", "downwardAPI", "persistentVolumeClaim", "ephemeral")


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What one pod uses. `running` are its running containers with what the runtime tells of them."""

    pod: PodView
    running: Sequence[tuple[ContainerRecord, ContainerUsage]]
    started_at: float
    interfaces: Sequence[Interface]
    default_interface: str
    processes: int
    logs: Mapping[str, tuple[int, int]]
    """Bytes and inodes by container."""
    volumes: Sequence[tuple[str, Mapping[str, Any], int, int, Space]]
    """Name, source, bytes, inodes and filesystem."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen at one time."""

    now: float
    node: NodeUsage
    node_space: Space | None
    image_space: Space | None
    image_usage: FilesystemUsage | None
    interfaces: Sequence[Interface]
    default_interface: str
    pods: Sequence[PodUsage]


class Rates:
    """CPU use between two looks at a counter, at least a second apart."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[float, int, int | None]] = {}

    def note(self, key: str, at: float, nanoseconds: int) -> int | None:
        """Nanocores used since the look before; None at the first."""
        known = self._samples.get(key)
        if known is None or nanoseconds < known[1]:
            self._samples[key] = (at, nanoseconds, None)
            return None
        if at - known[0] < _RATE_PERIOD_S:
            return known[2]
        rate = int((nanoseconds - known[1]) / (at - known[0]))
        self._samples[key] = (at, nanoseconds, rate)
        return rate

    def keep(self, keys: set[str]) -> None:
        self._samples = {key: sample for key, sample in self._samples.items() if key in keys}


class Stats:
    """Collects what a kubelet's node and pods use."""

    def __init__(self, kubelet: Kubelet, clock: Clock) -> None:
        self._kubelet = kubelet
        self._clock = clock
        self._rates = Rates()
        self._volumes: dict[Path, tuple[float, int, int]] = {}

    async def snapshot(self, *, only_cpu_and_memory: bool = False) -> Snapshot:
        """Raises RuntimeFailure, OSError."""
        runtime = self._kubelet.parts.runtime
        usages = {usage.container_id: usage for usage in await runtime.usage()}
        images = None if only_cpu_and_memory else await runtime.image_filesystem()
        pods = [(pod, self._kubelet.record(uid_of(pod))) for pod in self._kubelet.pods()]
        return await asyncio.to_thread(self._look, pods, usages, images, only_cpu_and_memory)

    def _look(
        self,
        pods: Sequence[tuple[Object, PodRecord | None]],
        usages: Mapping[str, ContainerUsage],
        images: FilesystemUsage | None,
        only_cpu_and_memory: bool,
    ) -> Snapshot:
        now = self._clock.now()
        found = []
        for pod, record in pods:
            running = (
                [(c, usages[c.id]) for c in record.containers if c.is_running and c.id in usages] if record else []
            )
            if record is not None and running:
                found.append(self._pod(pod, record, running, only_cpu_and_memory))
        paths = {self._kubelet.options.pod_dir(usage.pod.uid) for usage in found}
        self._volumes = {path: known for path, known in self._volumes.items() if path.parents[2] in paths}
        return Snapshot(
            now,
            machine_usage.node_usage(),
            machine_usage.space(self._kubelet.options.root_dir),
            machine_usage.space(Path(images.mountpoint)) if images is not None else None,
            images,
            () if only_cpu_and_memory else _without_ends(machine_usage.interfaces()),
            machine_usage.default_interface(),
            found,
        )

    def _pod(
        self,
        obj: Object,
        record: PodRecord,
        running: Sequence[tuple[ContainerRecord, ContainerUsage]],
        only_cpu_and_memory: bool,
    ) -> PodUsage:
        pod = PodView(obj)
        sandbox = record.ready_sandbox
        started_at = sandbox.created_at if sandbox is not None else running[0][0].created_at
        if only_cpu_and_memory:
            return PodUsage(pod, running, started_at, (), "", 0, {}, ())
        processes = self._kubelet.parts.cgroups.processes(obj)
        first = str(processes[0]) if processes and not pod.host_network else ""
        return PodUsage(
            pod,
            running,
            started_at,
            machine_usage.interfaces(first) if first else (),
            machine_usage.default_interface(first) if first else "",
            len(processes),
            {c.name: machine_usage.disk_usage(Path(c.log_path).parent) for c, _ in running if c.log_path},
            self._pod_volumes(pod),
        )

    def _pod_volumes(self, pod: PodView) -> list[tuple[str, Mapping[str, Any], int, int, Space]]:
        directories = {
            path.name: path for path in (self._kubelet.options.pod_dir(pod.uid) / "volumes").glob("kubernetes.io~*/*")
        }
        found = []
        for volume in pod.spec.get("volumes") or ():
            directory = directories.get(volume["name"])
            if directory is None or not any(source in volume for source in _VOLUME_SOURCES):
                continue
            space = machine_usage.space(directory)
            if space is not None:
                found.append((volume["name"], volume, *self._du(directory), space))
        return found

    def _du(self, directory: Path) -> tuple[int, int]:
        now = self._clock.monotonic()
        known = self._volumes.get(directory)
        if known is None or now - known[0] >= _VOLUME_PERIOD_S:
            known = (now, *machine_usage.disk_usage(directory))
            self._volumes[directory] = known
        return known[1], known[2]

    async def summary(self, *, only_cpu_and_memory: bool = False) -> Object:
        """The Summary object. Raises RuntimeFailure, OSError."""
        seen = await self.snapshot(only_cpu_and_memory=only_cpu_and_memory)
        pods = [self._pod_object(seen, usage, only_cpu_and_memory) for usage in seen.pods]
        self._rates.keep({"", *(usage.container_id for pod in seen.pods for _, usage in pod.running)})
        node = self._node_object(seen, only_cpu_and_memory)
        node["systemContainers"] = [{"name": "pods", "startTime": time(seen.node.booted_at), **_sum(pods, seen.now)}]
        return {"node": node, "pods": pods}

    def _node_object(self, seen: Snapshot, only_cpu_and_memory: bool) -> Object:
        node, now = seen.node, time(seen.now)
        result: Object = {
            "nodeName": self._kubelet.options.node_name,
            "startTime": time(node.booted_at),
            "cpu": _cpu(now, node.cpu_nanoseconds, self._rates.note("", seen.now, node.cpu_nanoseconds)),
            "memory": {
                "time": now,
                "availableBytes": node.memory_total - node.memory_working_set,
                "usageBytes": node.memory_used,
                "workingSetBytes": node.memory_working_set,
                "rssBytes": node.memory_rss,
                "pageFaults": node.page_faults,
                "majorPageFaults": node.major_page_faults,
            },
            "swap": {"time": now, "swapAvailableBytes": node.swap_free, "swapUsageBytes": node.swap_used},
        }
        if only_cpu_and_memory:
            return result
        result["network"] = _network(now, seen.interfaces, seen.default_interface)
        result["rlimit"] = {"time": now, "maxpid": node.max_processes, "curproc": node.processes}
        if seen.node_space is not None:
            result["fs"] = _space(now, seen.node_space, seen.node_space.used, seen.node_space.inodes_used)
        if seen.image_space is not None and seen.image_usage is not None:
            images = _space(now, seen.image_space, seen.image_usage.used_bytes, seen.image_usage.inodes_used)
            result["runtime"] = {"imageFs": images, "containerFs": images}
        return result

    def _pod_object(self, seen: Snapshot, pod: PodUsage, only_cpu_and_memory: bool) -> Object:
        now = time(seen.now)
        containers = [self._container_object(seen, pod, *pair, only_cpu_and_memory) for pair in pod.running]
        view = pod.pod
        result: Object = {
            "podRef": {"name": view.name, "namespace": view.namespace, "uid": view.uid},
            "startTime": time(pod.started_at),
            "containers": containers,
            **_sum(containers, seen.now),
        }
        if only_cpu_and_memory:
            return result
        if pod.interfaces:
            result["network"] = _network(now, pod.interfaces, pod.default_interface)
        if pod.volumes:
            result["volume"] = [
                {**_space(now, space, used, inodes), "name": name, **_claim(view.namespace, source)}
                for name, source, used, inodes, space in pod.volumes
            ]
        if seen.node_space is not None:
            local = [v for v in pod.volumes if "emptyDir" in v[1] and not (v[1]["emptyDir"] or {}).get("medium")]
            used, inodes = 0, 0
            for fs in [c[key] for c in containers for key in ("rootfs", "logs") if key in c]:
                used, inodes = used + fs["usedBytes"], inodes + fs["inodesUsed"]
            used, inodes = used + sum(v[2] for v in local), inodes + sum(v[3] for v in local)
            result["ephemeral-storage"] = _space(now, seen.node_space, used, inodes)
        result["process_stats"] = {"process_count": pod.processes}
        return result

    def _container_object(
        self,
        seen: Snapshot,
        pod: PodUsage,
        container: ContainerRecord,
        usage: ContainerUsage,
        only_cpu_and_memory: bool,
    ) -> Object:
        at = time(usage.timestamp)
        result: Object = {
            "name": container.name,
            "startTime": time(container.started_at),
            "cpu": _cpu(
                at, usage.cpu_nanoseconds, self._rates.note(usage.container_id, usage.timestamp, usage.cpu_nanoseconds)
            ),
            "memory": {
                "time": at,
                "workingSetBytes": usage.memory_working_set_bytes,
                "usageBytes": usage.memory_usage_bytes,
                "rssBytes": usage.memory_rss_bytes,
                "pageFaults": usage.page_faults,
                "majorPageFaults": usage.major_page_faults,
            },
        }
        if only_cpu_and_memory:
            return result
        if usage.root_filesystem is not None and seen.image_space is not None:
            root = usage.root_filesystem
            result["rootfs"] = _space(time(root.timestamp), seen.image_space, root.used_bytes, root.inodes_used)
        if seen.node_space is not None and container.name in pod.logs:
            result["logs"] = _space(time(seen.now), seen.node_space, *pod.logs[container.name])
        return result


def _without_ends(interfaces: Sequence[Interface]) -> list[Interface]:
    """Without the node's ends of pods' interfaces, whose traffic is counted with the pods."""
    return [interface for interface in interfaces if not interface.name.startswith(_POD_ENDS)]


def time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cpu(at: str, nanoseconds: int, rate: int | None) -> Object:
    known = {} if rate is None else {"usageNanoCores": rate}
    return {"time": at, **known, "usageCoreNanoSeconds": nanoseconds}


def _space(at: str, space: Space, used: int, inodes_used: int) -> Object:
    return {
        "time": at,
        "availableBytes": space.available,
        "capacityBytes": space.capacity,
        "usedBytes": used,
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
        "inodesUsed": inodes_used,
    }


def _network(at: str, interfaces: Sequence[Interface], default: str) -> Object:
    listed = [
        {
            "name": i.name,
            "rxBytes": i.rx_bytes,
            "rxErrors": i.rx_errors,
            "txBytes": i.tx_bytes,
            "txErrors": i.tx_errors,
        }
        for i in interfaces
    ]
    chosen = next((entry for entry in listed if entry["name"] == default), {"name": ""})
    return {"time": at, **chosen, "interfaces": listed}


def _sum(parts: Sequence[Object], now: float) -> Object:
    """The CPU and memory of parts together."""
    cpu: Object = {"time": time(now)}
    rates = [part["cpu"]["usageNanoCores"] for part in parts if "usageNanoCores" in part["cpu"]]
    if rates:
        cpu["usageNanoCores"] = sum(rates)
    cpu["usageCoreNanoSeconds"] = sum(part["cpu"]["usageCoreNanoSeconds"] for part in parts)
    fields = ("workingSetBytes", "usageBytes", "rssBytes", "pageFaults", "majorPageFaults")
    return {
        "cpu": cpu,
        "memory": {"time": time(now), **{field: sum(part["memory"][field] for part in parts) for field in fields}},
    }


def _claim(namespace: str, volume: Mapping[str, Any]) -> Object:
    claim = volume.get("persistentVolumeClaim")
    return {"pvcRef": {"name": claim["claimName"], "namespace": namespace}} if claim else {}
