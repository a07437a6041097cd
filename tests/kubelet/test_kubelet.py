"""The whole kubelet on the simulated runtime, with time that the test turns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api import status
from pilothouse.api.meta import UID, NodeName, Object, is_condition_true
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import VirtualClock
from pilothouse.kubelet.container_files import NoFiles
from pilothouse.kubelet.kubelet import Kubelet, Parts
from pilothouse.kubelet.machine import Machine
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import ExecResult, Image
from pilothouse.kubelet.runtime.specs import Credentials, SandboxSpec
from pilothouse.kubelet.seams import ConfigError, NotMounted
from pilothouse.kubelet.simulated import (
    AlwaysHealthy,
    Behaviour,
    NoCgroups,
    NoEnvironment,
    NoVolumes,
    SimulatedRuntime,
)
from tests.kubelet.fake_api import FakeApi, path_of, pod

MACHINE = Machine(2, 8 << 30, 100 << 30, (), "m", "s", "b", "6.1", "Debian", "amd64")
NODE = "/api/v1/nodes/n1"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"


class Runtime(SimulatedRuntime):
    """The simulated runtime, with faults that a test asks for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sandbox_failures = 0
        self.pull_failures = 0
        self.execs: list[tuple[str, ...]] = []
        self.exec_code = 0
        self.stops: list[tuple[str, int]] = []
        self.hold_stop: asyncio.Event | None = None

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        if self.sandbox_failures:
            self.sandbox_failures -= 1
            raise RuntimeFailure("no address left")
        return await super().run_sandbox(spec)

    async def image(self, reference: str) -> Image | None:
        return None if reference.startswith("absent") else Image(reference)

    async def pull(self, reference: str, credentials: Credentials | None, sandbox: SandboxSpec | None) -> str:
        if self.pull_failures:
            self.pull_failures -= 1
            raise RuntimeFailure("no such image")
        return f"pulled-{reference}"

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        self.execs.append(tuple(command))
        return ExecResult(b"", b"", self.exec_code)

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        self.stops.append((container_id, grace_s))
        if self.hold_stop is not None and grace_s > 5:
            await self.hold_stop.wait()
        await super().stop_container(container_id, grace_s)


class Volumes(NoVolumes):
    problem = ""

    async def set_up(self, pod: Object) -> None:
        if self.problem:
            raise NotMounted(self.problem)


class Environment(NoEnvironment):
    problem = ""

    async def variables(self, *args: Any) -> Sequence[tuple[str, str]]:
        if self.problem:
            raise ConfigError(self.problem)
        return []


class Bench:
    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = VirtualClock()
        self.rng = random.Random(1)
        self.volumes, self.environment = Volumes(), Environment()
        behaviour = Behaviour(
            lambda uid: next((o for o in self.api.objects.values() if o["metadata"]["uid"] == uid), None)
        )
        self.runtime = Runtime(behaviour, self.clock, self.rng)
        self.task: asyncio.Task[None] | None = None
        self.kubelet = self.start()

    def start(self) -> Kubelet:
        client = Client(self.api)
        parts = Parts(self.runtime, self.volumes, self.environment, AlwaysHealthy(), NoCgroups(), NoFiles())
        options = KubeletOptions(NodeName("n1"), ("10.0.0.9",), resolv_conf=Path("/nonexistent"))
        recorder = EventRecorder(client, "kubelet", "n1", self.clock, rng=self.rng)
        self.kubelet = Kubelet(
            client, InformerFactory(client, self.clock), parts, MACHINE, recorder, options, self.clock, self.rng
        )
        self.task = asyncio.get_running_loop().create_task(self.kubelet.run())
        return self.kubelet

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def advance(self, seconds: float = 0.0) -> None:
        await self.clock.advance(seconds, settle_turns=60)

    async def until(self, condition: Callable[[], Any], seconds: float = 5.0) -> None:
        for _ in range(int(seconds * 20)):
            if condition():
                return
            await self.advance(0.05)
        raise AssertionError(f"it never came true: {self.api.events()}")

    def put(self, obj: Object) -> str:
        self.api.put(path_of(obj), obj)
        return path_of(obj)

    def status(self, path: str) -> Any:
        return self.api.objects[path]["status"]

    def is_ready(self, path: str) -> bool:
        return is_condition_true(self.status(path).get("conditions"), "Ready")

    async def ready_pod(self, **spec: Any) -> str:
        path = self.put(pod(**spec))
        await self.until(lambda: self.is_ready(path))
        return path

    def state(self, path: str, name: str = "main", field: str = "containerStatuses") -> Any:
        return next(s for s in self.status(path)[field] if s["name"] == name)["state"]

    def waits(self, path: str, reason: str) -> bool:
        statuses = self.status(path).get("containerStatuses") or ()
        return any((s["state"].get("waiting") or {}).get("reason") == reason for s in statuses)

    def container_id(self, path: str) -> str:
        return str(self.status(path)["containerStatuses"][0]["containerID"]).rpartition("/")[2]

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.api.events()]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.until(lambda: NODE in made.api.objects)
    await made.advance(0.1)
    made.api.put(NODE, {**made.api.objects[NODE], "spec": {"podCIDR": "10.244.0.0/24"}})
    await made.advance(0.1)
    yield made
    await made.stop()


async def test_the_node_registers_ready_and_renews_its_lease(bench: Bench) -> None:
    node = bench.api.objects[NODE]
    assert is_condition_true(node["status"]["conditions"], "Ready")
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
    assert node["status"]["allocatable"]["memory"] == f"{((8 << 30) - (100 << 20)) // 1024}Ki"
    await bench.until(lambda: LEASE in bench.api.objects)
    first = bench.api.objects[LEASE]["spec"]["renewTime"]
    await bench.advance(11)
    assert bench.api.objects[LEASE]["spec"]["renewTime"] > first
    writes = [r for r in bench.api.requests if r == ("PATCH", f"{NODE}/status")]
    assert not writes, "a status that does not change is not written again"
    await bench.advance(300)
    assert ("PATCH", f"{NODE}/status") in bench.api.requests


async def test_a_pod_runs_and_reports_itself_ready(bench: Bench) -> None:
    path = await bench.ready_pod()
    shown = bench.status(path)
    assert shown["phase"] == "Running"
    assert shown["podIP"] == shown["podIPs"][0]["ip"]
    assert (shown["hostIP"], shown["qosClass"], shown["observedGeneration"]) == ("10.0.0.9", "BestEffort", 1)
    main = shown["containerStatuses"][0]
    assert (main["ready"], main["started"], main["restartCount"]) == (True, True, 0)
    assert main["containerID"].partition("://")[1]
    assert {"Pulled", "Created", "Started"} <= set(bench.reasons())
    await bench.advance(1)
    before = len(bench.api.requests)
    await bench.advance(8)
    assert not [r for r in bench.api.requests[before:] if "/pods/" in r[1]], "a pod at rest costs no request"


async def test_deleting_a_pod_ends_it_and_then_removes_it_from_the_api(bench: Bench) -> None:
    path = await bench.ready_pod()
    bench.api.delete_gracefully(path, 30)
    await bench.until(lambda: path not in bench.api.objects)
    await bench.advance(1)
    assert not await bench.runtime.pods()
    assert ("Killing", "Stopping container main") in bench.api.events()
    assert bench.runtime.stops[0][1] == 30
    assert not bench.kubelet.pods()


async def test_a_pod_that_is_deleted_while_it_starts_never_runs(bench: Bench) -> None:
    obj = pod()
    path = bench.put(obj)
    bench.api.delete_gracefully(path, 30)
    await bench.until(lambda: path not in bench.api.objects)
    await bench.advance(1)
    assert not await bench.runtime.pods()


async def test_a_forced_deletion_ends_what_runs(bench: Bench) -> None:
    path = await bench.ready_pod()
    bench.api.remove(path)
    await bench.advance(1)
    assert not await bench.runtime.pods()


async def test_a_shortened_grace_period_holds_at_once(bench: Bench) -> None:
    path = await bench.ready_pod()
    bench.runtime.hold_stop = asyncio.Event()
    bench.api.delete_gracefully(path, 600)
    await bench.until(lambda: bench.runtime.stops)
    await bench.advance(1)
    assert path in bench.api.objects
    bench.api.delete_gracefully(path, 1)
    await bench.until(lambda: path not in bench.api.objects)
    assert [grace for _, grace in bench.runtime.stops] == [600, 2]
    assert bench.reasons().count("Killing") == 1


async def test_a_crashed_container_restarts_at_once_and_then_with_delay(bench: Bench) -> None:
    path = await bench.ready_pod()
    bench.runtime.crash(bench.container_id(path), 3)
    await bench.until(lambda: bench.status(path)["containerStatuses"][0]["restartCount"] == 1)
    await bench.until(lambda: bench.is_ready(path))
    last = bench.status(path)["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    bench.runtime.crash(bench.container_id(path), 3)
    await bench.until(lambda: bench.waits(path, "CrashLoopBackOff"))
    message = bench.state(path)["waiting"]["message"]
    assert message == "back-off 10s restarting failed container=main pod=web_default(uid-web)"
    assert "BackOff" in bench.reasons()
    assert bench.status(path)["phase"] == "Running"
    await bench.advance(8)
    assert not bench.is_ready(path)
    await bench.advance(3)
    assert bench.is_ready(path)


async def test_a_sandbox_that_fails_is_tried_again(bench: Bench) -> None:
    bench.runtime.sandbox_failures = 2
    path = await bench.ready_pod()
    assert ("FailedCreatePodSandBox", "Failed to create pod sandbox: no address left") in bench.api.events()
    assert bench.status(path)["phase"] == "Running"


async def test_volumes_that_are_not_there_hold_the_pod_back(bench: Bench) -> None:
    bench.volumes.problem = 'MountVolume.SetUp failed for volume "c" : configmap "c" not found'
    path = bench.put(pod())
    await bench.until(lambda: "FailedMount" in bench.reasons())
    await bench.advance(1)
    conditions = bench.status(path)["conditions"]
    assert not is_condition_true(conditions, "PodReadyToStartContainers")
    assert bench.waits(path, "ContainerCreating")
    assert not (await bench.runtime.pods())
    bench.volumes.problem = ""
    await bench.until(lambda: bench.is_ready(path), 30)


async def test_an_environment_that_cannot_be_made_is_told(bench: Bench) -> None:
    bench.environment.problem = 'configmap "c" not found'
    path = bench.put(pod())
    await bench.until(lambda: bench.waits(path, "CreateContainerConfigError"))
    assert bench.state(path)["waiting"]["message"] == 'configmap "c" not found'
    assert ("Failed", 'Error: configmap "c" not found') in bench.api.events()
    bench.environment.problem = ""
    await bench.until(lambda: bench.is_ready(path), 30)


async def test_an_image_that_cannot_be_pulled_is_tried_again_with_delay(bench: Bench) -> None:
    bench.runtime.pull_failures = 2
    path = bench.put(pod(containers=[{"name": "main", "image": "absent:1"}]))
    await bench.until(lambda: bench.waits(path, "ErrImagePull"))
    await bench.until(lambda: bench.waits(path, "ImagePullBackOff"))
    assert bench.state(path)["waiting"]["message"] == 'Back-off pulling image "absent:1": ErrImagePull: no such image'
    await bench.until(lambda: bench.is_ready(path), 60)
    assert {"Pulling", "Failed", "BackOff", "Pulled"} <= set(bench.reasons())


async def test_an_image_that_must_not_be_pulled(bench: Bench) -> None:
    image = {"name": "main", "image": "absent:1", "imagePullPolicy": "Never"}
    path = bench.put(pod(containers=[image]))
    await bench.until(lambda: bench.waits(path, "ErrImageNeverPull"))


async def test_init_containers_run_before_the_others(bench: Bench) -> None:
    path = bench.put(pod(initContainers=[{"name": "first", "image": "i"}]))
    await bench.until(lambda: bench.is_ready(path))
    first = bench.status(path)["initContainerStatuses"][0]
    assert first["state"]["terminated"]["exitCode"] == 0
    assert first["ready"]


async def test_a_pod_that_has_run_to_its_end_succeeds_and_stays(bench: Bench) -> None:
    path = await bench.ready_pod(restartPolicy="Never")
    bench.runtime.crash(bench.container_id(path), 0)
    await bench.until(lambda: bench.status(path)["phase"] == "Succeeded")
    await bench.advance(30)
    assert bench.status(path)["phase"] == "Succeeded"
    assert bench.state(path)["terminated"]["exitCode"] == 0
    assert not is_condition_true(bench.status(path)["conditions"], "Ready")
    bench.api.delete_gracefully(path, 0)
    await bench.until(lambda: path not in bench.api.objects)


async def test_a_pod_past_its_deadline_fails(bench: Bench) -> None:
    path = await bench.ready_pod(activeDeadlineSeconds=60)
    await bench.advance(61)
    shown = bench.status(path)
    assert (shown["phase"], shown["reason"]) == ("Failed", "DeadlineExceeded")
    assert shown["message"] == "Pod was active on the node longer than the specified deadline"


async def test_hooks_run_and_a_failed_post_start_hook_ends_the_container(bench: Bench) -> None:
    hooks = {"postStart": {"exec": {"command": ["start"]}}, "preStop": {"exec": {"command": ["stop"]}}}
    path = await bench.ready_pod(containers=[{"name": "main", "image": "i", "lifecycle": hooks}])
    bench.api.delete_gracefully(path, 30)
    await bench.until(lambda: path not in bench.api.objects)
    assert bench.runtime.execs == [("start",), ("stop",)]
    bench.runtime.exec_code = 1
    failing = bench.put(pod("two", "uid-two", containers=[{"name": "main", "image": "i", "lifecycle": hooks}]))
    await bench.until(lambda: "FailedPostStartHook" in bench.reasons())
    await bench.until(lambda: bench.waits(failing, "PostStartHookError") or bench.waits(failing, "CrashLoopBackOff"))


async def test_a_kubelet_that_starts_again_touches_nothing_that_runs(bench: Bench) -> None:
    path = await bench.ready_pod()
    container_id = bench.container_id(path)
    await bench.stop()
    bench.start()
    await bench.advance(15)
    assert bench.container_id(path) == container_id
    assert bench.is_ready(path)
    assert not bench.runtime.stops


async def test_a_kubelet_that_starts_again_ends_what_was_deleted_meanwhile(bench: Bench) -> None:
    path = await bench.ready_pod()
    await bench.stop()
    bench.api.remove(path)
    bench.start()
    await bench.until(lambda: bench.runtime.stops, 20)
    await bench.advance(1)
    assert not await bench.runtime.pods()


async def test_a_status_that_the_api_refuses_for_a_while_arrives(bench: Bench) -> None:
    bench.api.refuse["PATCH", "/pods/"] = status.ServiceUnavailable("down")
    path = bench.put(pod())
    await bench.advance(5)
    assert bench.status(path)["phase"] == "Pending"
    bench.api.refuse.clear()
    await bench.until(lambda: bench.is_ready(path), 30)


async def test_a_deletion_that_the_api_refuses_for_a_while_is_repeated(bench: Bench) -> None:
    path = await bench.ready_pod()
    bench.api.refuse["DELETE", "/pods/"] = status.ServiceUnavailable("down")
    bench.api.delete_gracefully(path, 1)
    await bench.advance(5)
    assert path in bench.api.objects
    bench.api.refuse.clear()
    await bench.until(lambda: path not in bench.api.objects, 30)


async def test_a_pod_of_the_same_name_is_another_pod(bench: Bench) -> None:
    path = await bench.ready_pod()
    bench.api.objects.pop(path)
    bench.api.put(path, pod("web", "uid-other"))
    await bench.until(lambda: bench.is_ready(path))
    await bench.advance(1)
    assert set(await bench.runtime.pods()) == {UID("uid-other")}


async def test_readiness_gates_hold_the_pod_unready(bench: Bench) -> None:
    path = bench.put(pod(readinessGates=[{"conditionType": "example.com/up"}]))
    await bench.until(lambda: is_condition_true(bench.status(path)["conditions"], "ContainersReady"))
    assert not bench.is_ready(path)
    obj = bench.api.objects[path]
    conditions = [*obj["status"]["conditions"], {"type": "example.com/up", "status": "True"}]
    bench.api.put(path, {**obj, "status": {**obj["status"], "conditions": conditions}})
    await bench.until(lambda: bench.is_ready(path))


async def test_a_pod_that_does_not_fit_is_rejected_and_never_runs(bench: Bench) -> None:
    greedy = {"name": "main", "image": "i", "resources": {"requests": {"cpu": "3"}}}
    path = bench.put(pod(containers=[greedy]))
    await bench.until(lambda: bench.status(path)["phase"] == "Failed")
    shown = bench.status(path)
    message = "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000"
    assert (shown["reason"], shown["message"]) == ("OutOfcpu", f"Pod was rejected: {message}")
    assert ("OutOfcpu", message) in bench.api.events()
    assert not await bench.runtime.pods()


async def test_an_exit_may_restart_the_whole_pod(bench: Bench) -> None:
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
    trigger = {"name": "main", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules}
    path = await bench.ready_pod(restartPolicy="Never", containers=[trigger, {"name": "two", "image": "i"}])
    before = {s["name"]: s["containerID"] for s in bench.status(path)["containerStatuses"]}
    sandbox = (await bench.runtime.pod(UID("uid-web"))).sandboxes[0].id
    bench.runtime.crash(bench.container_id(path), 88)
    await bench.until(lambda: bench.is_ready(path) and not bench.waits(path, ""))
    await bench.advance(1)
    after = {s["name"]: s["containerID"] for s in bench.status(path)["containerStatuses"]}
    assert before["main"] != after["main"]
    assert before["two"] != after["two"]
    assert (await bench.runtime.pod(UID("uid-web"))).sandboxes[0].id == sandbox
    assert bench.status(path)["phase"] == "Running"
