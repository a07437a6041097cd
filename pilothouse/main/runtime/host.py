"""What the machine can do and how it must be set for containers: capabilities, cgroups, overlay mounts, kernel settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pilothouse.kit.mounts import MS_REC, MS_SHARED, mount, mounts, unmount
from pilothouse.main.runtime.requirements import find_program

_CAP_SYS_RESOURCE = 24

CGROUP_ROOT = Path("/sys/fs/cgroup")


class CgroupDriver(Enum):
    """Who makes the containers' cgroups; kubelet and containerd must agree."""

    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


class HostError(Exception):
    """The machine cannot be set up as containers need it; the message says what to do."""


def can_lower_oom_score() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, without which no process can be made less likely to be killed for memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False


def is_cgroup_v2() -> bool:
    """Whether version 2 alone is mounted; with both (`hybrid`) the controllers are version 1's."""
    return (CGROUP_ROOT / "cgroup.controllers").exists()


def cgroup_driver() -> CgroupDriver:
    """systemd where it runs the machine on cgroup v2, which has one writer only; else plain directories."""
    is_systemd = Path("/run/systemd/system").is_dir()
    return CgroupDriver.SYSTEMD if is_systemd and is_cgroup_v2() else CgroupDriver.CGROUPFS


def snapshotter_for(directory: Path) -> str:
    """`overlayfs` if an overlay can be mounted on `directory`'s file system, else `native`, which copies. Found out by trying."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="overlay-check-") as scratch:
        places = {name: Path(scratch, name) for name in ("lower", "upper", "work", "merged")}
        for place in places.values():
            place.mkdir()
        options = f"lowerdir={places['lower']},upperdir={places['upper']},workdir={places['work']}"
        try:
            mount("overlay", places["merged"], "overlay", options=options)
        except OSError:
            return "native"
        unmount(places["merged"])
        return "overlayfs"


def share_mounts() -> None:
    """Make `/` and all below it propagate, so that volumes mounted later appear in containers. Does nothing if `/` does already.

    Raises HostError.
    """
    root = next((mount for mount in reversed(mounts()) if mount.point == Path("/")), None)
    if root is not None and root.is_shared:
        return
    try:
        mount("none", Path("/"), "none", MS_REC | MS_SHARED)
    except OSError as error:
        raise HostError(f"mounts cannot be shared (`mount --make-rshared /`): {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Setting:
    """A kernel setting, in the form of `sysctl`. `module` brings it; without an `is_required` one the node still runs."""

    name: str
    value: str
    module: str = ""
    is_required: bool = True

    @property
    def path(self) -> Path:
        return Path("/proc/sys", *self.name.split("."))


NODE_SETTINGS = (
    Setting("net.ipv4.ip_forward", "1"),
    # Pods on one bridge answer each other directly, past the translation of a Service's address, unless the bridge asks netfilter.
    Setting("net.bridge.bridge-nf-call-iptables", "1", "br_netfilter", is_required=False),
)


def apply_settings(settings: Sequence[Setting] = NODE_SETTINGS) -> tuple[str, ...]:
    """Set what differs; the names of those that this kernel does not have. Raises HostError for a required one."""
    lacking = []
    for setting in settings:
        if setting.module and not setting.path.exists():
            _load_module(setting.module)
        try:
            if setting.path.read_text().strip() != setting.value:
                setting.path.write_text(setting.value)
        except OSError as error:
            if setting.is_required:
                raise HostError(f"{setting.name} cannot be set to {setting.value}: {error.strerror}") from error
            lacking.append(setting.name)
    return tuple(lacking)


def _load_module(name: str) -> None:
    if program := find_program("modprobe"):
        pid = os.posix_spawn(program, [program, "--quiet", name], dict(os.environ))
        os.waitpid(pid, 0)
