"""What is left of containers when containerd no longer looks after them, and its removal.

Nothing here asks containerd or runc: everything is found in the kernel's and runc's own files, so that it works after any crash.
Only what lies under the given directories or was started with the given socket is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.mounts import unmount_below

log = get_logger("pilothouse.runtime.remains")

_Finder = Callable[[], list[int]]

_END_LIMIT_S = 10.0
_POD_CGROUPS = ("kubepods", "k8s.io", "pod")


def processes_with(flag: str, value: str) -> list[int]:
    """The processes whose command line has `flag value`."""
    wanted = f"\0{flag}\0{value}\0".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if wanted in command:
                found.append(int(directory.name))
    return found


class Remains:
    """Everything that the containerd at `address` may have left behind."""

    def __init__(self, address: Path, state: Path, root: Path, runc_root: Path, clock: Clock) -> None:
        self._address = address
        self._state = state
        self._root = root
        self._runc_root = runc_root
        self._clock = clock

    async def remove(self) -> None:
        """End the containers and their shims; remove cgroups, mounts, sockets and the state directory. containerd must have ended."""
        cgroups = self._cgroups()
        await self._end(lambda: [*_members(cgroups), *self._init_processes()])
        await self._end(lambda: processes_with("-address", str(self._address)))
        for cgroup in sorted(cgroups, key=lambda path: len(path.parts), reverse=True):
            _remove_cgroup(cgroup)
        sockets = self._shim_sockets()
        unmount_below([self._state, self._root])
        for path in sockets:
            path.unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, self._state, ignore_errors=True)

    def _states(self) -> Iterable[dict[str, object]]:
        for file in self._runc_root.glob("*/*/state.json"):
            try:
                yield json.loads(file.read_text())
            except (OSError, ValueError):
                log.warning("a container's state cannot be read", file=file)

    def _cgroups(self) -> set[Path]:
        """The containers' own cgroups: none that others could be in, whatever the files say."""
        paths: set[Path] = set()
        for state in self._states():
            named, container = state.get("cgroup_paths"), state.get("id")
            if isinstance(named, dict) and isinstance(container, str) and container:
                paths.update(Path(path) for path in named.values() if container in Path(path).name)
        return paths

    def _init_processes(self) -> list[int]:
        """The first process of each container, if it is still the one that runc started and not another of the same number."""
        return [
            pid
            for state in self._states()
            if isinstance(pid := state.get("init_process_pid"), int)
            and pid > 1
            and _start_time(pid) == str(state.get("init_process_start"))
        ]

    def _shim_sockets(self) -> list[Path]:
        """Shims put their sockets in a place of containerd's own choice; the file that says where depends on its version."""
        found = []
        for file in self._state.glob("io.containerd.runtime.v2.task/*/*/*"):
            address = ""
            if file.name == "address":
                address = file.read_text().strip()
            elif file.name == "bootstrap.json":
                address = str(json.loads(file.read_text() or "{}").get("address", ""))
            if address.startswith("unix:///run/containerd/s/"):
                found.append(Path(address.removeprefix("unix://")))
        return found

    async def _end(self, find: _Finder) -> None:
        deadline = self._clock.monotonic() + _END_LIMIT_S
        while pids := find():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if self._clock.monotonic() > deadline:
                log.warning("processes do not end", pids=pids)
                return
            await self._clock.sleep(0.01)


def _members(cgroups: Iterable[Path]) -> set[int]:
    pids: set[int] = set()
    for cgroup in cgroups:
        for directory in _with_children(cgroup):
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in (directory / "cgroup.procs").read_text().split())
    return pids - {0, os.getpid()}


def _with_children(cgroup: Path) -> list[Path]:
    """The cgroup and all below it, the deepest first; what goes meanwhile is left out."""
    return [Path(directory) for directory, _, _ in os.walk(cgroup, topdown=False)]


def _start_time(pid: int) -> str:
    """In clock ticks after boot, as runc notes it; empty if the process has ended."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _remove_cgroup(cgroup: Path) -> None:
    """Remove it with all below it, and the parents that were made for pods, as far as they are empty."""
    for child in _with_children(cgroup):
        with contextlib.suppress(OSError):
            child.rmdir()
    for path in (cgroup, *cgroup.parents):
        if path != cgroup and not path.name.startswith(_POD_CGROUPS) and not path.parent.name.startswith(_POD_CGROUPS):
            return
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
