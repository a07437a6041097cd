"""A real containerd in a temporary directory: a pod in it lives through kills, and nothing is left of it after `clean`."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.mounts import mounts
from pilothouse.main.runtime import host
from pilothouse.main.runtime.containerd import Containerd, ContainerdError, ContainerdOptions, Machine, configuration
from pilothouse.main.runtime.images import PAUSE_IMAGE, ImageError, local_architecture
from pilothouse.main.runtime.remains import processes_with
from pilothouse.main.runtime.requirements import find_program, missing_packages
from tests.main.runtime.pods import (
    BUSYBOX,
    Node,
    PodSettings,
    busybox_archive,
    is_running,
    run_pod,
    running_node,
    runtime_of,
)


def options_in(directory: Path) -> ContainerdOptions:
    return ContainerdOptions.under(directory / "data", directory / "run", directory / "log")


@pytest.mark.parametrize("has_capability", [True, False])
def test_configuration_is_valid_toml_that_says_what_the_machine_can(tmp_path: Path, has_capability: bool) -> None:
    import tomllib

    machine = Machine("native", host.CgroupDriver.SYSTEMD, not has_capability, Path("/opt/cni/bin"))
    read = tomllib.loads(configuration(options_in(tmp_path / 'a "quoted" \\ place'), machine))
    cri = read["plugins"]["io.containerd.grpc.v1.cri"]
    assert read["grpc"]["address"] == str(tmp_path / 'a "quoted" \\ place' / "run/containerd/containerd.sock")
    assert cri["restrict_oom_score_adj"] is not has_capability
    assert read["oom_score"] == (-999 if has_capability else 0)
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    assert cri["sandbox_image"] == PAUSE_IMAGE
    assert cri["cni"]["conf_dir"] == str(tmp_path / 'a "quoted" \\ place' / "data/cni/net.d")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as node:
        yield node


def docker_archive(directory: Path) -> Path:
    """What `docker save` writes for an image `tiny:1` with one file."""

    def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        add(archive, "hello", b"hello")
    config = {
        "architecture": local_architecture(),
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["tiny:1"], "Layers": ["layer.tar"]}]
    file = directory / "docker.tar"
    with tarfile.open(file, mode="w") as archive:
        add(archive, "config.json", json.dumps(config).encode())
        add(archive, "layer.tar", layer.getvalue())
        add(archive, "manifest.json", json.dumps(manifest).encode())
    return file


def output_of(program: str, *arguments: str) -> str:
    command = [find_program(program) or program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def traces(node: Node, directory: Path) -> list[str]:
    """Whatever of the node is still there."""
    rules = output_of("nft", "list", "tables")
    host_ports = output_of("iptables-save", "-t", "nat")
    return [
        *(f"process {pid}" for pid in processes_with("-address", str(node.options.address))),
        *(f"process {pid}" for pid in processes_with("--config", str(node.options.configuration))),
        *(f"mount {mount.point}" for mount in mounts() if mount.point.is_relative_to(directory)),
        *(f"cgroup {path}" for path in host.CGROUP_ROOT.glob(f"*/kubepods-{os.getpid()}*")),
        *(f"link {path}" for path in Path("/sys/class/net").glob(node.network_options.bridge)),
        *(f"cni {path}" for path in Path("/var/lib/cni/results").glob(f"{node.network_options.name}-*")),
        *(["nft table"] if node.network_options.nft_table in rules else []),
        *(["host port"] if node.network_options.name in host_ports else []),
        *(["host port chain"] if "CNI-HOSTPORT" in host_ports else []),
        *([f"directory {node.options.state}"] if node.options.state.exists() else []),
    ]


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")
@pytest.mark.skipif(bool(missing_packages()), reason=f"packages are missing: {', '.join(missing_packages())}")
@pytest.mark.skipif(not BUSYBOX.exists(), reason="the package busybox-static is missing")
class TestRealContainerd:
    async def test_a_pod_outlives_kills_and_clean_leaves_nothing(self, node: Node, tmp_path: Path) -> None:
        names = await node.containerd.images.load(busybox_archive(tmp_path))
        assert names == ("docker.io/library/busybox:test",)
        assert PAUSE_IMAGE in {image.name for image in await node.containerd.images.list()}

        pod = await run_pod(node, PodSettings(["sleep", "1000"], host_port=30999))
        killed = node.containerd.pid
        os.kill(killed, signal.SIGKILL)
        await node.containerd.wait()
        await node.containerd.start()
        assert node.containerd.pid != killed
        assert await is_running(node, pod.container)

        other = Containerd(node.options, SystemClock())
        await other.start()
        assert other.pid == node.containerd.pid, "a containerd that runs is adopted"

        task_files = node.options.state.glob("io.containerd.runtime.v2.task/*/*/address")
        shim_sockets = [Path(file.read_text().removeprefix("unix://")) for file in task_files]
        assert all(shim_socket.exists() for shim_socket in shim_sockets)
        assert shim_sockets
        kinds = {trace.split()[0] for trace in traces(node, tmp_path)}
        assert kinds == {"process", "mount", "cgroup", "link", "cni", "nft", "host", "directory"}
        await node.containerd.clean()
        await node.network.clean()
        assert traces(node, tmp_path) == []
        assert not any(shim_socket.exists() for shim_socket in shim_sockets)
        assert (node.options.root / "pause-image").exists(), "images outlive `down`"

    async def test_clean_ends_a_container_in_the_machines_process_namespace(self, node: Node, tmp_path: Path) -> None:
        await node.containerd.images.load(busybox_archive(tmp_path))
        command = ["sh", "-c", "trap '' TERM; sleep 7654321 & sleep 7654321"]
        await run_pod(node, PodSettings(command, host_pid=True))
        await node.containerd.clean()
        await node.network.clean()
        assert traces(node, tmp_path) == []
        assert processes_with("sleep", "7654321") == []

    async def test_after_clean_a_new_start_finds_the_pod_ended_and_can_remove_it(
        self, node: Node, tmp_path: Path
    ) -> None:
        import cri_api

        await node.containerd.images.load(busybox_archive(tmp_path))
        pod = await run_pod(node, PodSettings(["sleep", "1000"]))
        await node.containerd.clean()
        await node.network.clean()
        await node.network.set_up()
        await node.containerd.start()
        assert not await is_running(node, pod.container)
        async with runtime_of(node) as runtime:
            request = cri_api.PodSandboxStatusRequest(pod_sandbox_id=pod.sandbox)
            assert (await runtime.PodSandboxStatus(request)).status.state == cri_api.SANDBOX_NOTREADY
            await runtime.StopPodSandbox(cri_api.StopPodSandboxRequest(pod_sandbox_id=pod.sandbox))
            await runtime.RemovePodSandbox(cri_api.RemovePodSandboxRequest(pod_sandbox_id=pod.sandbox))
            assert not (await runtime.ListContainers(cri_api.ListContainersRequest())).containers
        again = await run_pod(node, PodSettings(["sleep", "1000"], name="again"))
        assert await is_running(node, again.container)

    async def test_clean_twice_is_no_error(self, node: Node) -> None:
        await node.containerd.clean()
        await node.network.clean()
        await node.containerd.clean()
        await node.network.clean()

    async def test_gzipped_and_docker_archives_are_read(self, node: Node, tmp_path: Path) -> None:
        oci = busybox_archive(tmp_path)
        gzipped = tmp_path / "busybox.tar.gz"
        gzipped.write_bytes(gzip.compress(oci.read_bytes(), 1))
        assert await node.containerd.images.load(gzipped) == ("docker.io/library/busybox:test",)
        assert await node.containerd.images.load(gzipped) == ("docker.io/library/busybox:test",), "also if it is there"
        assert await node.containerd.images.load(docker_archive(tmp_path)) == ("docker.io/library/tiny:1",)
        await node.containerd.images.remove("tiny:1")
        with pytest.raises(ImageError):
            await node.containerd.images.remove("tiny:1")

    async def test_a_broken_archive_is_refused_in_one_sentence(self, node: Node, tmp_path: Path) -> None:
        broken = tmp_path / "broken.tar"
        broken.write_bytes(b"this is no archive")
        with pytest.raises(ImageError, match="containerd refused"):
            await node.containerd.images.load(broken)
        broken.write_bytes(gzip.compress(bytes(100_000))[:50])
        with pytest.raises(ImageError, match="cannot be unzipped"):
            await node.containerd.images.load(broken)
        with pytest.raises(ImageError, match="there is no image archive"):
            await node.containerd.images.load(tmp_path / "absent.tar")

    async def test_a_configuration_it_refuses_is_reported_with_its_reason(self, tmp_path: Path) -> None:
        options = options_in(tmp_path)
        options.root.parent.mkdir(parents=True)
        options.address.mkdir(parents=True)
        (options.address / "occupied").touch()
        with pytest.raises(ContainerdError, match="containerd ended at once"):
            await Containerd(options, SystemClock()).start()

    async def test_it_is_started_again_when_it_ends(self, node: Node) -> None:
        await node.containerd.stop()
        keeping = asyncio.create_task(node.containerd.run())
        try:
            async with asyncio.timeout(20):
                first = await another_pid(node, 0)
                os.kill(first, signal.SIGKILL)
                second = await another_pid(node, first)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        assert Path("/proc", str(second)).exists(), "cancelled, it leaves containerd as it is"


async def another_pid(node: Node, known: int) -> int:
    """The process id of containerd once it is another one and it accepts calls."""
    while node.containerd.pid in (0, known):
        await SystemClock().sleep(0.01)
    async with runtime_of(node):
        return node.containerd.pid
