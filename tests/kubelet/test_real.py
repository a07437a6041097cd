"""The kubelet with real containers: a containerd of the test's own, and an API in memory."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.meta import UID, NodeName, Object, is_condition_true
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import SystemClock
from pilothouse.kubelet.cgroups import Naming, PodCgroups
from pilothouse.kubelet.container_files import PodFiles
from pilothouse.kubelet.cri import CriRuntime
from pilothouse.kubelet.kubelet import Kubelet, Parts
from pilothouse.kubelet.machine import read_machine
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.probes.prober import PodProber
from pilothouse.kubelet.runtime.failures import NotFoundInRuntime, RuntimeTimeout
from pilothouse.kubelet.runtime.records import ContainerState
from pilothouse.kubelet.simulated import NoEnvironment, NoVolumes
from pilothouse.main.runtime import host
from pilothouse.main.runtime.containerd import Containerd, ContainerdOptions
from pilothouse.main.runtime.images import File, ImageConfig, pack
from pilothouse.main.runtime.network import NetworkOptions, NodeNetwork
from pilothouse.main.runtime.requirements import missing_packages
from tests.kubelet.fake_api import FakeApi, path_of, pod

BUSYBOX = Path("/bin/busybox")
IMAGE = "pilothouse.test/busybox:1"
NODE = "/api/v1/nodes/n1"
LIMIT_S = 10.0
SERVE = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing_packages()), reason=f"missing packages: {', '.join(missing_packages())}"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox-static is missing"),
]


@dataclass
class Node:
    runtime: CriRuntime
    directory: Path
    api: FakeApi = field(default_factory=FakeApi)
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        clock, rng, client = SystemClock(), random.Random(1), Client(self.api)
        options = KubeletOptions(
            NodeName("n1"),
            ("127.0.0.1",),
            root_dir=self.directory / "kubelet",
            pod_logs_dir=self.directory / "pods",
            container_logs_dir=self.directory / "containers",
        )
        recorder = EventRecorder(client, "kubelet", "n1", clock, rng=rng)
        prober = PodProber(self.runtime, recorder, clock, rng)
        machine = read_machine(options.root_dir)
        cgroups = PodCgroups(Naming.CGROUPFS, machine.memory_bytes)
        parts = Parts(self.runtime, NoVolumes(), NoEnvironment(), prober, cgroups, PodFiles(options))
        informers = InformerFactory(client, clock)
        kubelet = Kubelet(client, informers, parts, machine, recorder, options, clock, rng)
        self.task = asyncio.get_running_loop().create_task(kubelet.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"it never came true: {self.api.events()}"
            await asyncio.sleep(0.005)

    def put(self, obj: Object) -> str:
        self.api.put(path_of(obj), obj)
        return path_of(obj)

    def status(self, path: str) -> Any:
        return self.api.objects[path]["status"]

    def is_ready(self, path: str) -> bool:
        return is_condition_true(self.status(path).get("conditions"), "Ready")

    async def delete(self, path: str, grace_s: int = 30) -> None:
        self.api.delete_gracefully(path, grace_s)
        await self.until(lambda: path not in self.api.objects)


def shell(script: str, **rest: Any) -> Object:
    return {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script], **rest}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    number = os.getpid() % 250
    options = ContainerdOptions.under(tmp_path / "data", tmp_path / "run", tmp_path / "log")
    network = NodeNetwork(
        NetworkOptions(
            configuration=options.cni_configuration,
            state=tmp_path / "run/cni",
            pod_cidrs=(f"10.252.{number}.0/24",),
            cluster_cidrs=("10.252.0.0/16",),
            name=f"phkube{os.getpid()}",
            bridge=f"phk{os.getpid()}",
            nft_table=f"phkube-{os.getpid()}",
        )
    )
    containerd = Containerd(options, SystemClock())
    host.share_mounts()
    host.apply_settings()
    runtime = CriRuntime(f"unix://{options.address}")
    made = Node(runtime, tmp_path)
    try:
        await network.set_up()
        await containerd.start()
        links = {
            f"bin/{name}": File(link="busybox")
            for name in ("sh", "sleep", "cat", "true", "false", "id", "touch", "grep")
        }
        files = {"bin/busybox": File(BUSYBOX.read_bytes(), 0o755), "tmp": File(mode=0o1777), **links}
        archive = tmp_path / "busybox.tar"
        archive.write_bytes(pack([IMAGE], files, ImageConfig(command=("/bin/sh",))))
        await containerd.images.load(archive)
        made.start()
        await made.until(lambda: NODE in made.api.objects)
        yield made
    finally:
        await made.stop()
        await runtime.close()
        await containerd.clean()
        await network.clean()


async def test_a_pod_lives_and_dies(node: Node) -> None:
    script = f"cat /etc/hosts > /dev/termination-log; echo out; {SERVE}"
    path = node.put(
        pod(containers=[shell(script)], hostname="wuff", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["cat"]}])
    )
    await node.until(lambda: node.is_ready(path))
    shown = node.status(path)
    assert shown["podIP"].startswith("10.252.")
    assert shown["containerStatuses"][0]["containerID"].startswith("containerd://")
    hosts = (node.directory / "kubelet/pods/uid-web/etc-hosts").read_text()
    assert f"{shown['podIP']}\twuff\n" in hosts
    assert "1.2.3.4\tcat\n" in hosts
    log = node.directory / "pods/default_web_uid-web/main/0.log"
    await node.until(lambda: " stdout F out\n" in log.read_text())
    assert next((node.directory / "containers").iterdir()).resolve() == log
    await node.delete(path)
    await node.until(lambda: not (node.directory / "kubelet/pods/uid-web").exists())
    assert not log.exists()
    assert not list((node.directory / "containers").iterdir())
    assert not await node.runtime.pods()


async def test_a_container_that_ends_is_seen_at_once_and_restarted(node: Node) -> None:
    script = "echo why > /dev/termination-log; test -e /dev/shm/again && exec sleep 1000; touch /dev/shm/again; exit 3"
    path = node.put(pod(containers=[shell(script)]))
    await node.until(lambda: node.is_ready(path) and node.status(path)["containerStatuses"][0]["restartCount"] == 1)
    last = node.status(path)["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "why\n")
    await node.delete(path, 0)


async def test_a_pod_that_ends_keeps_its_logs(node: Node) -> None:
    path = node.put(pod(restartPolicy="Never", containers=[shell("echo done; exit 0")]))
    await node.until(lambda: node.status(path)["phase"] == "Succeeded")
    assert "done" in (node.directory / "pods/default_web_uid-web/main/0.log").read_text()
    record = await node.runtime.pod(UID("uid-web"))
    assert [c.state for c in record.containers] == [ContainerState.EXITED]
    for _ in range(100):
        if not (await node.runtime.pod(UID("uid-web"))).ready_sandbox:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("its sandbox still runs")
    await node.delete(path)


async def test_init_containers_sidecars_and_their_order(node: Node) -> None:
    sidecar = {**shell(SERVE), "name": "side", "restartPolicy": "Always"}
    first = {**shell("exit 0"), "name": "first"}
    path = node.put(pod(initContainers=[sidecar, first], containers=[shell(SERVE)]))
    await node.until(lambda: node.is_ready(path))
    states = {s["name"]: s["state"] for s in node.status(path)["initContainerStatuses"]}
    assert "running" in states["side"]
    assert states["first"]["terminated"]["reason"] == "Completed"
    await node.delete(path)


async def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 1}
    path = node.put(pod(containers=[shell(SERVE, livenessProbe=probe)]))
    await node.until(lambda: node.status(path).get("containerStatuses", [{}])[0].get("restartCount") == 1)
    assert ("Killing", "Container main failed liveness probe, will be restarted") in node.api.events()
    await node.delete(path, 0)


async def test_hooks_run_in_the_container(node: Node) -> None:
    hooks = {
        "postStart": {"exec": {"command": ["/bin/sh", "-c", "echo started > /dev/termination-log"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", "echo stopping >> /dev/termination-log"]}},
    }
    path = node.put(pod(containers=[shell(SERVE, lifecycle=hooks)]))
    await node.until(lambda: node.is_ready(path))
    logs = list((node.directory / "kubelet/pods/uid-web/containers/main").iterdir())
    assert logs[0].read_text() == "started\n"
    messages: list[str] = []
    node.api.delete_gracefully(path, 30)

    def gone() -> bool:
        obj = node.api.objects.get(path)
        for shown in (obj or {}).get("status", {}).get("containerStatuses") or ():
            messages.append((shown["state"].get("terminated") or {}).get("message", ""))
        return obj is None

    await node.until(gone)
    assert "started\nstopping\n" in messages


async def test_security_contexts_hold(node: Node) -> None:
    script = "id -u; id -g; touch /x 2>/dev/null || echo read-only; grep NoNewPrivs /proc/self/status"
    context = {
        "runAsUser": 1234,
        "runAsGroup": 2345,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"]},
    }
    path = node.put(pod(restartPolicy="Never", containers=[shell(script, securityContext=context)]))
    await node.until(lambda: node.status(path)["phase"] == "Succeeded")
    text = (node.directory / "pods/default_web_uid-web/main/0.log").read_text()
    printed = [line.split(" ", 3)[3] for line in text.splitlines()]
    assert printed == ["1234", "2345", "read-only", "NoNewPrivs:\t1"]


async def test_an_image_that_runs_as_root_is_refused_to_a_pod_that_forbids_it(node: Node) -> None:
    path = node.put(pod(containers=[shell(SERVE, securityContext={"runAsNonRoot": True})]))

    def message() -> str:
        statuses = node.status(path).get("containerStatuses") or [{"state": {}}]
        return str((statuses[0]["state"].get("waiting") or {}).get("message", ""))

    await node.until(lambda: "image will run as root" in message())


async def test_running_containers_survive_the_kubelet(node: Node) -> None:
    path = node.put(pod(containers=[shell(SERVE)]))
    await node.until(lambda: node.is_ready(path))
    before = node.status(path)["containerStatuses"][0]
    await node.stop()
    node.start()
    await asyncio.sleep(0.5)
    assert node.status(path)["containerStatuses"][0] == before
    await node.delete(path)


async def test_what_the_runtime_refuses(node: Node) -> None:
    with pytest.raises(NotFoundInRuntime):
        await node.runtime.container("no-such-container")
    await node.runtime.stop_container("no-such-container", 1)
    await node.runtime.remove_sandbox("no-such-sandbox")
    assert await node.runtime.image("absent:1") is None
    path = node.put(pod(containers=[shell(SERVE)]))
    await node.until(lambda: node.is_ready(path))
    container_id = node.status(path)["containerStatuses"][0]["containerID"].rpartition("/")[2]
    with pytest.raises(RuntimeTimeout):
        await node.runtime.exec(container_id, ["/bin/sleep", "10"], 1)
    answer = await node.runtime.exec(container_id, ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"], 5)
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 7)


async def test_a_running_container_is_resized_in_place(node: Node) -> None:
    path = node.put(pod(containers=[shell(SERVE, resources={"limits": {"memory": "64Mi"}})]))
    await node.until(lambda: node.is_ready(path))
    before = node.status(path)["containerStatuses"][0]["containerID"]
    exec_in = node.runtime.exec

    async def limit() -> str:
        script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
        return (await exec_in(before.rpartition("/")[2], ["/bin/sh", "-c", script], 5)).stdout.decode().strip()

    assert await limit() == str(64 << 20)
    obj = node.api.objects[path]
    resized = [shell(SERVE, resources={"limits": {"memory": "128Mi"}})]
    node.api.put(path, {**obj, "spec": {**obj["spec"], "containers": resized}})
    for _ in range(200):
        if await limit() == str(128 << 20):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError(f"the limit is still {await limit()}")
    assert node.status(path)["containerStatuses"][0]["containerID"] == before
