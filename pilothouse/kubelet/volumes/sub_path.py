"""A part of a volume (`subPath`), reached so that no link in it can lead out of the volume.

The kernel resolves the path beneath the volume's directory (`openat2` with RESOLVE_BENEATH), and what it found is bind-mounted by its
descriptor to a place that containers cannot change. Between finding and mounting nothing can be exchanged. Source: KEP of
CVE-2017-1002101, `pkg/volume/util/subpath`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path, PurePosixPath

from pilothouse.kit.mounts import MS_BIND, MS_REC, mount
from pilothouse.kubelet.seams import NotMounted

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_NEW_DIRECTORY = 0o750


def bind(volume: Path, sub_path: str, target: Path) -> Path:
    """Mount `sub_path` of `volume`, made as a directory if it is missing, at `target`. Idempotent. Raises NotMounted, OSError."""
    parts = PurePosixPath(sub_path).parts
    if sub_path.startswith("/") or ".." in parts:
        raise NotMounted(f"subPath {sub_path!r} must be a relative path inside the volume")
    root = os.open(volume, os.O_PATH | os.O_CLOEXEC)
    try:
        found = _open_or_make(root, parts)
        try:
            _mount_descriptor(found, target)
        finally:
            os.close(found)
    finally:
        os.close(root)
    return target


def _open_or_make(root: int, parts: tuple[str, ...]) -> int:
    try:
        return open_beneath(root, "/".join(parts) or ".")
    except FileNotFoundError:
        pass
    current = os.dup(root)
    for depth in range(len(parts)):
        try:
            following = open_beneath(root, "/".join(parts[: depth + 1]))
        except FileNotFoundError:
            os.mkdir(parts[depth], _NEW_DIRECTORY, dir_fd=current)
            following = open_beneath(root, "/".join(parts[: depth + 1]))
        os.close(current)
        current = following
    return current


def _mount_descriptor(found: int, target: Path) -> None:
    if os.path.ismount(target):
        return
    is_directory = os.stat(f"/proc/self/fd/{found}").st_mode & 0o170000 == 0o040000
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_directory:
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mount(f"/proc/self/fd/{found}", target, "none", MS_BIND | MS_REC)


def open_beneath(root: int, path: str) -> int:
    """A path descriptor of `path`, every step of which lies beneath `root`. Raises FileNotFoundError, NotMounted, OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    how = struct.pack("<QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    descriptor: int = libc.syscall(_SYS_OPENAT2, root, os.fsencode(path), how, len(how))
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    error = OSError(number, os.strerror(number), path)
    if error.errno == 18:
        raise NotMounted(f"subPath {path!r} leads out of its volume")
    raise error
