"""The mounts of this machine: reading, making and undoing them. Through libc, as the standard library has no call for it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_SHARED = 1 << 5, 1 << 12, 1 << 14, 1 << 20
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of `mountinfo`."""

    point: Path
    type: str
    is_shared: bool


def mounts() -> tuple[Mount, ...]:
    """The mounts of this mount namespace, in the order they were made."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            fields = before.split()
            point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            is_shared = any(option.startswith("shared:") for option in fields[6:])
            found.append(Mount(Path(point), after.split()[0], is_shared))
    return tuple(found)


def mount(source: str, target: Path, type: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [os.fsencode(text) for text in (source, str(target), type)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), os.fsencode(options) if options else None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def unmount(target: Path) -> None:
    """Take a mount away at once, also while it is in use. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def unmount_below(directories: Sequence[Path]) -> None:
    """Unmount everything mounted at or under the directories, the last mount first. Raises OSError."""
    resolved = [directory.resolve() for directory in directories]
    for mount in reversed(mounts()):
        if any(mount.point.is_relative_to(directory) for directory in resolved):
            try:
                unmount(mount.point)
            except OSError as error:
                # A propagated unmount may have taken it already.
                if error.errno not in (errno.EINVAL, errno.ENOENT):
                    raise
