"""What the machine uses at this moment, from the kernel's files. Blocking, but never for long."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """CPU time is cumulative. Memory is in bytes."""

    cpu_nanoseconds: int
    memory_used: int
    memory_working_set: int
    memory_rss: int
    memory_total: int
    swap_used: int
    swap_free: int
    page_faults: int
    major_page_faults: int
    processes: int
    max_processes: int
    booted_at: float


@dataclass(frozen=True, slots=True)
class Interface:
    """The counters of a network interface."""

    name: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int


@dataclass(frozen=True, slots=True)
class Space:
    """A filesystem's bytes and inodes."""

    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int

    @property
    def inodes_used(self) -> int:
        return self.inodes - self.inodes_free


def node_usage(proc: Path = _PROC) -> NodeUsage:
    """Raises OSError where the kernel's files are not there."""
    memory = {name: int(value.split()[0]) * 1024 for name, value in _colons((proc / "meminfo").read_text()).items()}
    faults = dict(line.split() for line in (proc / "vmstat").read_text().splitlines())
    cpu_ticks, booted_at = 0, 0.0
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("cpu "):
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            cpu_ticks = user + nice + system + irq + softirq + steal
        elif line.startswith("btime "):
            booted_at = float(line.split()[1])
    used = memory["MemTotal"] - memory["MemFree"]
    return NodeUsage(
        cpu_nanoseconds=cpu_ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK")),
        memory_used=used,
        memory_working_set=max(0, used - memory.get("Inactive(file)", 0)),
        memory_rss=memory.get("AnonPages", 0),
        memory_total=memory["MemTotal"],
        swap_used=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        swap_free=memory.get("SwapFree", 0),
        page_faults=int(faults.get("pgfault", 0)),
        major_page_faults=int(faults.get("pgmajfault", 0)),
        processes=int((proc / "loadavg").read_text().split()[3].partition("/")[2]),
        max_processes=int((proc / "sys/kernel/pid_max").read_text()),
        booted_at=booted_at,
    )


def interfaces(pid: str = "self", proc: Path = _PROC) -> list[Interface]:
    """Those of the network that a process is in, without the loopback; none if the process is gone."""
    try:
        text = (proc / pid / "net" / "dev").read_text()
    except OSError:
        return []
    found = []
    for name, value in _colons(text).items():
        counters = value.split()
        if name != "lo" and len(counters) >= 16:
            rx_bytes, rx_errors, tx_bytes, tx_errors = (int(counters[index]) for index in (0, 2, 8, 10))
            found.append(Interface(name, rx_bytes, rx_errors, tx_bytes, tx_errors))
    return found


def default_interface(pid: str = "self", proc: Path = _PROC) -> str:
    """The name of the interface that the default route leads through; empty if there is none."""
    try:
        routes = (proc / pid / "net" / "route").read_text().splitlines()[1:]
    except OSError:
        return ""
    for route in routes:
        name, destination, *_ = route.split()
        if destination == "00000000":
            return name
    return ""


def space(path: Path) -> Space | None:
    """The filesystem at `path`; None if there is none."""
    try:
        stat = os.statvfs(path)
    except OSError:
        return None
    return Space(
        stat.f_blocks * stat.f_frsize,
        stat.f_bavail * stat.f_frsize,
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
        stat.f_files,
        stat.f_ffree,
    )


def disk_usage(directory: Path) -> tuple[int, int]:
    """Bytes and inodes that a directory takes, itself included, without what is mounted in it."""
    seen: set[int] = set()
    used = 0
    try:
        root = os.lstat(directory)
    except OSError:
        return 0, 0
    stack = [str(directory)]
    seen.add(root.st_ino)
    used += root.st_blocks * 512
    while stack:
        try:
            entries = os.scandir(stack.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.st_ino in seen or stat.st_dev != root.st_dev:
                    continue
                seen.add(stat.st_ino)
                used += stat.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return used, len(seen)


def _colons(text: str) -> Mapping[str, str]:
    return {name.strip(): value for name, found, value in (line.partition(":") for line in text.splitlines()) if found}
