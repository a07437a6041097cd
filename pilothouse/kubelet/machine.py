"""What the machine is: its resources and identity, read from the kernel's files."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of a machine that do not change while it runs."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    """Of the filesystem that pods write to."""
    hugepages: tuple[tuple[int, int], ...]
    """Size of a page in KiB and how many there are."""
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel_version: str
    os_image: str
    architecture: str
    swap_bytes: int = 0


def read_machine(root_dir: Path) -> Machine:
    """The machine that this process runs on; `root_dir` is where pods' data are kept."""
    memory = _meminfo()
    machine_id = _text("/etc/machine-id") or _text("/var/lib/dbus/machine-id")
    existing = root_dir
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    disk = os.statvfs(existing)
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory.get("MemTotal", 0),
        disk_bytes=disk.f_blocks * disk.f_frsize,
        hugepages=_hugepages(),
        machine_id=machine_id,
        system_uuid=(_text("/sys/class/dmi/id/product_uuid") or machine_id).lower(),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel_version=platform.release(),
        os_image=_os_image(),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        swap_bytes=memory.get("SwapTotal", 0),
    )


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    values = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[0] if rest.split() else "0"
        values[name] = int(number) * (1024 if rest.rstrip().endswith("kB") else 1)
    return values


def _hugepages() -> tuple[tuple[int, int], ...]:
    pages = []
    with contextlib.suppress(OSError):
        for entry in sorted(os.listdir("/sys/kernel/mm/hugepages")):
            size = entry.removeprefix("hugepages-").removesuffix("kB")
            count = _text(f"/sys/kernel/mm/hugepages/{entry}/nr_hugepages")
            if size.isdigit():
                pages.append((int(size), int(count or 0)))
    return tuple(pages)


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"
