"""A containerd of Pilothouse's own, beside whatever else runs on the machine.

It has its own root, state and socket. Containers belong to shims, which are processes apart: they go on when containerd or Pilothouse
is killed, and the next `start` finds containerd still running and adopts it, or starts it and it finds its shims.

Source: containerd's `docs/man/containerd-config.toml.5.md`, `docs/cri/config.md`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.main.runtime import host
from pilothouse.main.runtime.images import PAUSE_IMAGE, ImageStore, pause_image
from pilothouse.main.runtime.remains import Remains, processes_with
from pilothouse.main.runtime.requirements import cni_directory, explain, find_program

log = get_logger("pilothouse.runtime.containerd")

_UNUSED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
    "io.containerd.internal.v1.restart",
)

_READY_LIMIT_S = 30.0
_STOP_LIMIT_S = 5.0
_MAX_RESTART_DELAY_S = 10.0


class ContainerdError(Exception):
    """containerd does not run; the message says why and where its log is."""


@dataclass(frozen=True, slots=True)
class ContainerdOptions:
    """Where one containerd keeps its things. `root` outlives `down` (images); `state` does not (sockets, mounts, namespaces)."""

    root: Path
    state: Path
    cni_configuration: Path
    log_file: Path
    registries: Path

    @property
    def address(self) -> Path:
        """The socket of its API and of the CRI."""
        return self.state / "containerd.sock"

    @property
    def configuration(self) -> Path:
        return self.state / "config.toml"

    @property
    def pid_file(self) -> Path:
        return self.state / "containerd.pid"

    @property
    def runc_root(self) -> Path:
        return self.state / "runc"

    @classmethod
    def under(cls, data: Path, run: Path, logs: Path) -> ContainerdOptions:
        """The usual places in a cluster's data, run and log directories."""
        return cls(
            root=data / "containerd",
            state=run / "containerd",
            cni_configuration=data / "cni" / "net.d",
            log_file=logs / "containerd.log",
            registries=data / "registries",
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """What the configuration depends on beside paths. `detect` finds it out."""

    snapshotter: str
    driver: host.CgroupDriver
    restrict_oom_score: bool
    cni_plugins: Path

    @classmethod
    def detect(cls, root: Path) -> Machine:
        """Raises ContainerdError if the CNI plugins are missing."""
        plugins = cni_directory()
        if plugins is None:
            raise ContainerdError(explain(["containernetworking-plugins"]))
        return cls(host.snapshotter_for(root), host.cgroup_driver(), not host.can_lower_oom_score(), plugins)


def configuration(options: ContainerdOptions, machine: Machine) -> str:
    """containerd's configuration file."""
    runc = {"SystemdCgroup": machine.driver is host.CgroupDriver.SYSTEMD, "Root": str(options.runc_root)}
    cri = {
        "sandbox_image": PAUSE_IMAGE,
        "restrict_oom_score_adj": machine.restrict_oom_score,
        "max_container_log_line_size": 16384,
        "disable_tcp_service": True,
        "stream_server_address": "127.0.0.1",
        "stream_server_port": "0",
        "tolerate_missing_hugetlb_controller": True,
        "disable_hugetlb_controller": True,
        "enable_unprivileged_ports": True,
        "enable_unprivileged_icmp": True,
        "netns_mounts_under_state_dir": True,
        "cni": {"bin_dir": str(machine.cni_plugins), "conf_dir": str(options.cni_configuration), "max_conf_num": 1},
        "registry": {"config_path": str(options.registries)},
        "containerd": {
            "snapshotter": machine.snapshotter,
            "default_runtime_name": "runc",
            "runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": runc}},
        },
    }
    return _toml(
        {
            "version": 2,
            "root": str(options.root),
            "state": str(options.state),
            "oom_score": 0 if machine.restrict_oom_score else -999,
            "disabled_plugins": list(_UNUSED_PLUGINS),
            "grpc": {"address": str(options.address)},
            "debug": {"level": "info"},
            "plugins": {
                "io.containerd.grpc.v1.cri": cri,
                "io.containerd.internal.v1.opt": {"path": str(options.root / "opt")},
            },
        }
    )


class Containerd:
    """One containerd: started or adopted, watched, stopped, cleaned up after."""

    def __init__(self, options: ContainerdOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._machine: Machine | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def pid(self) -> int:
        """The running process, or 0."""
        return self._pid

    @property
    def images(self) -> ImageStore:
        snapshotter = self._machine.snapshotter if self._machine else "overlayfs"
        return ImageStore(self._options.address, snapshotter=snapshotter)

    async def start(self) -> None:
        """Return when it accepts calls and has the pause image. One that runs with the same configuration is kept.

        Raises ContainerdError, ImageError.
        """
        options = self._options
        for directory in (options.root, options.state, options.cni_configuration, options.registries):
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        options.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._machine = Machine.detect(options.root)
        text = configuration(options, self._machine)
        is_same = options.configuration.exists() and options.configuration.read_text() == text
        running = self._running_pid()
        if running and not is_same:
            await self.stop()
            running = 0
        if running:
            self._pid = running
            log.info("containerd adopted", pid=running)
        else:
            options.configuration.write_text(text)
            self._spawn()
        await self._until_ready()
        await self._ensure_pause_image()

    async def run(self) -> None:
        """Keep it running: start it, and again when it ends. Cancelled, it leaves containerd as it is."""
        delay = 0.0
        while True:
            started = self._clock.monotonic()
            await self.start()
            await self.wait()
            delay = 0.0 if self._clock.monotonic() - started > 60 else min(max(2 * delay, 0.5), _MAX_RESTART_DELAY_S)
            log.warning("containerd ended and is started again; containers go on", delay_s=delay)
            await self._clock.sleep(delay)

    async def wait(self) -> None:
        """Return when the process has ended."""
        if self._pid:
            await _until_ended(self._pid)
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._pid = 0

    async def stop(self) -> None:
        """End containerd alone, containers go on. Does nothing if it does not run."""
        pid = self._running_pid()
        if not pid:
            return
        self._pid = pid
        _signal(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await self.wait()
        except TimeoutError:
            _signal(pid, signal.SIGKILL)
            await self.wait()
        self._options.pid_file.unlink(missing_ok=True)

    async def clean(self) -> None:
        """End containerd and every container, and remove what they left: shims, cgroups, mounts, namespaces, sockets, the state.

        Images stay. May be called at any time, also after a crash and when nothing runs.
        """
        await self.stop()
        options = self._options
        await Remains(options.address, options.state, options.root, options.runc_root, self._clock).remove()

    def _running_pid(self) -> int:
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        found = processes_with("--config", str(self._options.configuration))
        return found[0] if found else 0

    def _spawn(self) -> None:
        program = find_program("containerd")
        if program is None:
            raise ContainerdError(explain(["containerd", "runc"]))
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"}
        with self._options.log_file.open("ab") as output:
            self._child = subprocess.Popen(
                [program, "--config", str(self._options.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self._pid = self._child.pid
        self._options.pid_file.write_text(f"{self._pid}\n")
        log.info("containerd started", pid=self._pid, address=self._options.address)

    async def _until_ready(self) -> None:
        deadline = self._clock.monotonic() + _READY_LIMIT_S
        while not _accepts(self._options.address):
            if self._child is not None and self._child.poll() is not None:
                code, self._child, self._pid = self._child.returncode, None, 0
                raise ContainerdError(f"containerd ended at once with {code}: {self._last_words()}")
            if self._clock.monotonic() > deadline:
                raise ContainerdError(
                    f"containerd is not ready after {_READY_LIMIT_S:.0f} s; see {self._options.log_file}"
                )
            await self._clock.sleep(0.01)

    def _last_words(self) -> str:
        try:
            lines = self._options.log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1] if lines else 'it said nothing'} (log: {self._options.log_file})"

    async def _ensure_pause_image(self) -> None:
        """Import it once; the mark lies in containerd's root, so that it goes when the images go."""
        mark = self._options.root / "pause-image"
        archive = pause_image()
        if mark.exists() and mark.read_text() == PAUSE_IMAGE:
            return
        file = self._options.state / "pause.tar"
        file.write_bytes(archive)
        try:
            await self.images.load(file)
        finally:
            file.unlink(missing_ok=True)
        mark.write_text(PAUSE_IMAGE)


def _toml(values: Mapping[str, Any], section: tuple[str, ...] = ()) -> str:
    """TOML of nested tables with strings, booleans, numbers and lists of strings."""
    lines = [f"[{'.'.join(_quoted(part) for part in section)}]"] if section else []
    tables = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables.append(_toml(value, (*section, key)))
        elif isinstance(value, bool):
            lines.append(f"{key} = {str(value).lower()}")
        elif isinstance(value, int):
            lines.append(f"{key} = {value}")
        elif isinstance(value, list):
            lines.append(f"{key} = [{', '.join(_quoted(item) for item in value)}]")
        else:
            lines.append(f"{key} = {_quoted(value)}")
    return "\n".join([*lines, "", *tables])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _accepts(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        return connection.connect_ex(str(address)) == 0


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


async def _until_ended(pid: int) -> None:
    """Return when the process has ended, whoever's child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
