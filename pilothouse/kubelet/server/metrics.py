"""The kubelet's metrics pages, under upstream's names: `/metrics`, `/metrics/resource`, `/metrics/cadvisor`, `/metrics/probes`.

Source: `pkg/kubelet/metrics`, `pkg/kubelet/metrics/collectors`, cAdvisor's `docs/storage/prometheus.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pilothouse import KUBERNETES_VERSION
from pilothouse.api.meta import UID, Object, uid_of
from pilothouse.api.views.pod import PodView
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, Histogram, process, render
from pilothouse.kubelet.kubelet import Kubelet
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import ContainerState
from pilothouse.kubelet.server.stats import Snapshot, Stats

_START_BUCKETS_S = (
    *(0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0),
    *(480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0),
)
_NANO = 1e-9


class PodStarts:
    """Measures how long pods take from the kubelet's first sight of them until all their containers run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[UID, float] = {}
        self.durations = Histogram(_START_BUCKETS_S)

    def on_pod(self, old: Object | None, new: Object | None) -> None:
        """Handles the informer's changes."""
        if new is None:
            if old is not None:
                self._seen.pop(uid_of(old), None)
            return
        pod = PodView(new)
        if old is None:
            # One that has begun was seen by an earlier kubelet.
            if not pod.status.get("startTime") and not pod.is_terminal:
                self._seen[pod.uid] = self._clock.monotonic()
            return
        if pod.uid not in self._seen:
            return
        statuses = pod.container_statuses
        if statuses and all("running" in (status.get("state") or {}) for status in statuses):
            self.durations.observe(self._clock.monotonic() - self._seen.pop(pod.uid))
        elif pod.is_terminal:
            del self._seen[pod.uid]


class Metrics:
    """Puts the pages together. `count_request` counts what the kubelet's servers are asked."""

    def __init__(self, kubelet: Kubelet, stats: Stats, clock: Clock) -> None:
        self._kubelet = kubelet
        self._stats = stats
        self._starts = PodStarts(clock)
        self._started_at = clock.now()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        kubelet.watch_pods(self._starts.on_pod)

    def count_request(self, server: str, method: str, path: str) -> None:
        """`server` is `readwrite` or `readonly`; `path` is the first part of the path if the server knows it, else `other`."""
        self._requests[(server, method, path)] += 1

    def page(self) -> bytes:
        """`/metrics`."""
        return render([*self._families(), *process(self._started_at)])

    def _families(self) -> Iterable[Family]:
        name = self._kubelet.options.node_name
        version = {"git_version": KUBERNETES_VERSION, "major": "1", "minor": KUBERNETES_VERSION.split(".")[1]}
        yield Family("kubernetes_build_info", "gauge", "The version that this is").add(1, version)
        yield Family("kubelet_node_name", "gauge", "The node's name. The count is always 1.").add(1, {"node": name})
        pods = self._kubelet.pods()
        yield Family("kubelet_desired_pods", "gauge", "The pods that the kubelet is told to run").add(
            len(pods), {"static": ""}
        )
        states: Counter[ContainerState] = Counter()
        running = 0
        for pod in pods:
            if (record := self._kubelet.record(uid_of(pod))) is not None:
                running += record.ready_sandbox is not None
                states.update(container.state for container in record.containers)
        yield Family("kubelet_running_pods", "gauge", "Pods that have a running sandbox").add(running)
        containers = Family("kubelet_running_containers", "gauge", "Containers by their state")
        for state in ContainerState:
            containers.add(states[state], {"container_state": state.value})
        yield containers
        starts = Family(
            "kubelet_pod_start_duration_seconds",
            "histogram",
            "Seconds from the kubelet's first sight of a pod until its containers run",
        )
        self._starts.durations.add_to(starts)
        yield starts
        requests = Family("kubelet_http_requests_total", "counter", "Requests to the kubelet's servers")
        for (server, method, path), count in self._requests.items():
            requests.add(count, {"server_type": server, "method": method, "path": path})
        yield requests

    def probe_page(self) -> bytes:
        """`/metrics/probes`."""
        names = {uid_of(pod): PodView(pod) for pod in self._kubelet.pods()}
        total = Family("prober_probe_total", "counter", "Probes of containers by their result")
        for count, number in self._kubelet.parts.prober.totals().items():
            if (pod := names.get(count.uid)) is not None:
                labels = {
                    "container": count.container,
                    "namespace": pod.namespace,
                    "pod": pod.name,
                    "pod_uid": count.uid,
                    "probe_type": count.kind.value.capitalize(),
                    "result": count.result,
                }
                total.add(number, labels)
        start = Family("process_start_time_seconds", "gauge", "When this process started").add(self._started_at)
        return render([start, total])

    async def resource_page(self) -> bytes:
        """`/metrics/resource`."""
        try:
            seen = await self._stats.snapshot(only_cpu_and_memory=True)
        except (RuntimeFailure, OSError):
            return render(_scrape_error(failed=True))
        return render([*_resource_families(seen), *_scrape_error(failed=False)])

    async def cadvisor_page(self) -> bytes:
        """`/metrics/cadvisor`. Raises RuntimeFailure, OSError."""
        machine = self._kubelet.machine
        return render(
            [
                *_cadvisor_families(await self._stats.snapshot()),
                Family("machine_cpu_cores", "gauge", "Logical CPU cores").add(machine.cpus),
                Family("machine_memory_bytes", "gauge", "Memory of the machine").add(machine.memory_bytes),
                Family("machine_swap_bytes", "gauge", "Swap of the machine").add(machine.swap_bytes),
            ]
        )


def _scrape_error(*, failed: bool) -> Iterable[Family]:
    text = "1 if there was an error while getting container metrics, 0 otherwise"
    yield Family("resource_scrape_error", "gauge", text).add(failed)
    yield Family("scrape_error", "gauge", text).add(failed)


def _resource_families(seen: Snapshot) -> Iterable[Family]:
    at = int(seen.now * 1000)
    cpu = Family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time of the container in core-seconds")
    memory = Family("container_memory_working_set_bytes", "gauge", "Working set of the container in bytes")
    start = Family("container_start_time_seconds", "gauge", "Start time of the container since the epoch in seconds")
    pod_cpu = Family("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time of the pod in core-seconds")
    pod_memory = Family("pod_memory_working_set_bytes", "gauge", "Working set of the pod in bytes")
    for pod in seen.pods:
        of_pod = {"pod": pod.pod.name, "namespace": pod.pod.namespace}
        for container, usage in pod.running:
            labels = {"container": container.name, **of_pod}
            when = int(usage.timestamp * 1000)
            cpu.add(usage.cpu_nanoseconds * _NANO, labels, at_ms=when)
            memory.add(usage.memory_working_set_bytes, labels, at_ms=when)
            start.add(container.started_at, labels)
        pod_cpu.add(sum(usage.cpu_nanoseconds for _, usage in pod.running) * _NANO, of_pod, at_ms=at)
        pod_memory.add(sum(usage.memory_working_set_bytes for _, usage in pod.running), of_pod, at_ms=at)
    yield from (cpu, memory, start, pod_cpu, pod_memory)
    node = seen.node
    yield Family("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time of the node in core-seconds").add(
        node.cpu_nanoseconds * _NANO, at_ms=at
    )
    yield Family("node_memory_working_set_bytes", "gauge", "Working set of the node in bytes").add(
        node.memory_working_set, at_ms=at
    )
    yield Family("node_swap_usage_bytes", "gauge", "Swap usage of the node in bytes").add(node.swap_used, at_ms=at)


def _cadvisor_families(seen: Snapshot) -> Iterable[Family]:
    at = int(seen.now * 1000)
    cpu = Family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds")
    working_set = Family("container_memory_working_set_bytes", "gauge", "Current working set in bytes")
    memory = Family("container_memory_usage_bytes", "gauge", "Current memory usage in bytes")
    rss = Family("container_memory_rss", "gauge", "Size of RSS in bytes")
    disk = Family("container_fs_usage_bytes", "gauge", "Bytes of the container on its filesystem")
    start = Family("container_start_time_seconds", "gauge", "Start time since the epoch in seconds")
    last_seen = Family("container_last_seen", "gauge", "Last time that the container was seen")
    traffic = {
        attribute: Family(f"container_network_{name}_total", "counter", text)
        for attribute, name, text in (
            ("rx_bytes", "receive_bytes", "Cumulative bytes received"),
            ("rx_errors", "receive_errors", "Cumulative errors while receiving"),
            ("tx_bytes", "transmit_bytes", "Cumulative bytes transmitted"),
            ("tx_errors", "transmit_errors", "Cumulative errors while transmitting"),
        )
    }
    for pod in seen.pods:
        of_pod = {"namespace": pod.pod.namespace, "pod": pod.pod.name}
        for container, usage in pod.running:
            labels = {
                "container": container.name,
                "id": container.id,
                "image": container.image,
                "name": container.id,
                **of_pod,
            }
            when = int(usage.timestamp * 1000)
            cpu.add(usage.cpu_nanoseconds * _NANO, {**labels, "cpu": "total"}, at_ms=when)
            working_set.add(usage.memory_working_set_bytes, labels, at_ms=when)
            memory.add(usage.memory_usage_bytes, labels, at_ms=when)
            rss.add(usage.memory_rss_bytes, labels, at_ms=when)
            if usage.root_filesystem is not None:
                disk.add(usage.root_filesystem.used_bytes, {**labels, "device": ""}, at_ms=when)
            start.add(container.started_at, labels, at_ms=when)
            last_seen.add(int(usage.timestamp), labels, at_ms=when)
        for interface in pod.interfaces:
            for attribute, family in traffic.items():
                family.add(
                    getattr(interface, attribute), {"container": "", **of_pod, "interface": interface.name}, at_ms=at
                )
    yield from (cpu, working_set, memory, rss, disk, start, last_seen, *traffic.values())
