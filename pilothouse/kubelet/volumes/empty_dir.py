"""emptyDir volumes, on the node's disk or in memory, and the ownership of volumes that belong to a pod.

Source: `pkg/volume/emptydir`, `pkg/volume/volume_linux.go`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilothouse.api.quantity import to_int
from pilothouse.kit.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount
from pilothouse.kubelet.seams import NotMounted

WORLD_WRITABLE = 0o777


def set_up(directory: Path, source: Mapping[str, Any], gid: int | None) -> Path:
    """The volume's directory. Idempotent. Raises OSError, NotMounted for a medium that there is not."""
    medium = source.get("medium") or ""
    if medium not in ("", "Memory"):
        raise NotMounted(f"medium {medium} is not supported by this kubelet")
    directory.mkdir(parents=True, exist_ok=True)
    if medium == "Memory" and not os.path.ismount(directory):
        limit = source.get("sizeLimit")
        mount_memory(directory, to_int(limit) if limit is not None else 0)
    directory.chmod(WORLD_WRITABLE)
    if gid is not None:
        give_to_group(directory, gid)
    return directory


def mount_memory(directory: Path, limit_bytes: int = 0, *, executable: bool = True) -> None:
    """Mount a tmpfs. Raises OSError."""
    flags = 0 if executable else MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("tmpfs", directory, "tmpfs", flags, f"size={limit_bytes}" if limit_bytes else "")


def give_to_group(directory: Path, gid: int) -> None:
    """Let a pod's fsGroup read and write a volume and what will be made in it."""
    for path in (directory, *directory.rglob("*")):
        if path.is_symlink():
            continue
        info = path.stat()
        mode = info.st_mode | (0o2770 if path.is_dir() else 0o660)
        if info.st_gid != gid:
            os.chown(path, -1, gid)
        path.chmod(mode & 0o7777)
