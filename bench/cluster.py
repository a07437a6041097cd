"""Clusters to measure: of the bench's own, in a temporary directory, on ports that nobody uses."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import process
from bench.http import RequestRefused, Server, encode
from bench.subject import Subject
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Pki
from pilothouse.main import cluster, credentials, settings
from pilothouse.main.paths import Paths, paths_for
from pilothouse.main.runtime.network import NetworkOptions
from pilothouse.main.settings import Settings

POLL_S = 0.005
START_TIMEOUT_S = 60.0
_PILOTHOUSE = (sys.executable, "-m", "pilothouse.main")


class Unmeasurable(Exception):
    """Something on this machine forbids the measurement; the message says what, and what to do."""


def require_free_machine() -> None:
    """Raises Unmeasurable if no real node can be started here. Two of them would share a bridge and nft tables."""
    if os.geteuid() != 0:
        raise Unmeasurable("a real node needs root: run it with sudo, or leave it out with --simulated")
    bridge = NetworkOptions(Path(), Path(), ()).bridge
    if Path("/sys/class/net", bridge).exists():
        raise Unmeasurable(
            f"another real node uses the bridge {bridge} on this machine: run `pilothouse down` first, or leave real nodes "
            "out with --simulated"
        )


def _server(paths: Paths, port: int) -> Server:
    pki, admin = Pki(paths.pki, SystemClock()), credentials.ADMIN.name
    return Server.at(port, pki.certificate_path("ca"), pki.certificate_path(admin), pki.key_path(admin))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Cluster:
    """A whole cluster as `pilothouse up` makes it, started and stopped by the user's commands."""

    directory: Path
    simulated: int
    port: int = field(default_factory=free_port)
    kubelet_port: int = field(default_factory=free_port)
    read_only_port: int = field(default_factory=free_port)

    @property
    def paths(self) -> Paths:
        return paths_for(self.directory)

    @property
    def server(self) -> Server:
        return _server(self.paths, self.port)

    @property
    def node_names(self) -> Sequence[str]:
        return credentials.node_names(self.settings)

    @property
    def settings(self) -> Settings:
        saved = settings.load(self.paths)
        assert saved is not None, "the cluster was started"
        return saved

    def pids(self) -> dict[str, int]:
        """The cluster's processes by component, the supervisor's included."""
        pids = {row["name"]: int(row["pid"]) for row in json.loads(self.paths.state.read_text())}
        pids["supervisor"] = int(self.paths.lock.read_text())
        return pids

    async def up(self) -> tuple[float, float]:
        """Start it; seconds until the API server is ready and until its nodes are, by this process's own watch."""
        arguments = ["up", "--no-merge-kubeconfig", f"--secure-port={self.port}"]
        if self.simulated:
            arguments.append(f"--simulated={self.simulated}")
        else:
            arguments += [f"--kubelet-port={self.kubelet_port}", f"--read-only-port={self.read_only_port}"]
        began_at, began = time.time(), time.monotonic()
        command = asyncio.create_task(self._run(*arguments))
        try:
            ready_s = await self._until_api_ready(command) - began
            nodes_s = await self._until_nodes_ready(began_at) - began
        finally:
            await command
        return ready_s, nodes_s

    async def _until_api_ready(self, command: asyncio.Task[None]) -> float:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if command.done() and command.exception() is not None:
                raise Unmeasurable("the cluster does not start")
            try:
                await self.server.answer(encode("GET", "/readyz"))
                return time.monotonic()
            except (OSError, RequestRefused) as error:
                if time.monotonic() > deadline:
                    raise Unmeasurable(f"the API server does not get ready: {error}") from error
                await asyncio.sleep(POLL_S)

    async def _until_nodes_ready(self, since: float) -> float:
        deadline = time.monotonic() + START_TIMEOUT_S
        wanted = set(self.node_names)
        while time.monotonic() < deadline:
            nodes = (await self.server.request("GET", "/api/v1/nodes"))["items"]
            if wanted <= {node["metadata"]["name"] for node in nodes if cluster.is_node_ready(node, since)}:
                return time.monotonic()
            await asyncio.sleep(POLL_S)
        raise Unmeasurable(f"the nodes do not get ready: see {self.paths.logs}")

    async def down(self) -> None:
        await self._run("down")

    async def remove(self) -> None:
        await self._run("reset", "--yes")

    async def load_image(self, file: Path) -> None:
        await self._run("image", "load", str(file))

    async def _run(self, *arguments: str) -> None:
        environment = {**os.environ, "KUBECONFIG": str(self.directory / "kubeconfig")}
        command = await asyncio.create_subprocess_exec(
            *_PILOTHOUSE,
            *(*arguments, "--directory", str(self.directory)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
        output, _ = await command.communicate()
        if command.returncode:
            raise Unmeasurable(f"`pilothouse {arguments[0]}` failed: {output.decode(errors='replace').strip()}")


@asynccontextmanager
async def whole_cluster(*, simulated: int) -> AsyncIterator[Cluster]:
    """A cluster that is not started yet, and is removed in the end. Raises Unmeasurable."""
    if not simulated:
        require_free_machine()
    with temporary_directory() as directory:
        made = Cluster(directory, simulated)
        try:
            yield made
        finally:
            await asyncio.shield(made.remove())


@dataclass(slots=True)
class Components:
    """An API server, and what is started beside it, each by its own command."""

    paths: Paths
    settings: Settings
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server(self) -> Server:
        return _server(self.paths, self.settings.secure_port)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def start(self, name: str, argv: Sequence[str]) -> None:
        with self.paths.log_file(name).open("ab") as log:
            self._running[name] = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start_scheduler(self) -> None:
        kubeconfig = credentials.kubeconfig_path(self.paths, credentials.SCHEDULER)
        self.start("scheduler", [*_PILOTHOUSE, "scheduler", f"--kubeconfig={kubeconfig}", "--leader-elect=false"])

    def stop(self) -> None:
        for running in reversed(self._running.values()):
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()

    async def until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                await self.server.request("GET", "/api/v1/namespaces/default")
                return
            except (OSError, RequestRefused) as error:
                if time.monotonic() > deadline:
                    raise Unmeasurable(f"the API server does not get ready: {error}") from error
                await asyncio.sleep(POLL_S * 10)

    def api_server_flags(self) -> Sequence[str]:
        """What a cluster gives its API server."""
        specs = cluster.processes(self.settings, self.paths, None)
        argv = next(spec.argv for spec in specs if spec.name == cluster.API_SERVER)
        return argv[argv.index(cluster.API_SERVER) + 1 :]

    def cpu_s(self, name: str) -> float:
        return process.cpu_s([self.pid(name)])

    @property
    def subject(self) -> Subject:
        """The API server as something to measure."""

        async def used_s() -> float:
            return self.cpu_s(cluster.API_SERVER)

        return Subject(self.server, used_s)


def components_in(directory: Path) -> Components:
    """Certificates and settings for an API server alone; nothing runs yet."""
    paths = paths_for(directory)
    paths.make()
    chosen = settings.changed(cluster.default_settings(simulated=1), secure_port=free_port())
    credentials.ensure(paths, chosen, SystemClock())
    return Components(paths, chosen)


@asynccontextmanager
async def api_server() -> AsyncIterator[Components]:
    """An API server alone, with the flags that a cluster gives it."""
    with temporary_directory() as directory:
        components = components_in(directory)
        try:
            components.start(cluster.API_SERVER, [*_PILOTHOUSE, cluster.API_SERVER, *components.api_server_flags()])
            await components.until_ready()
            yield components
        finally:
            components.stop()


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Removed in the end, also when a file in it goes meanwhile."""
    path = Path(tempfile.mkdtemp(prefix="pilothouse-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
