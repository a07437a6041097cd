"""Writing a volume's files so that a reader sees all of the old ones or all of the new ones.

The files lie in a directory named after the time of writing; `..data` is a link to it, and each visible name a link through `..data`. An
update makes a new directory and turns `..data` over in one rename. Source: `pkg/volume/util/atomic_writer.go`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pilothouse.kubelet.volumes.payload import File

DATA = "..data"


class UnsafePath(Exception):
    """A file's path would leave the volume."""


def write(directory: Path, files: Mapping[str, File], gid: int | None, now: float) -> bool:
    """Make the volume at `directory` hold exactly `files`; whether anything had to be written. Raises OSError, UnsafePath.

    With `gid` the files and directories belong to that group, which may read them.
    """
    for path in files:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or not parts or parts[0].startswith(".."):
            raise UnsafePath(f"{path!r} is not a path inside a volume")
    current = directory / DATA
    if _holds(current, files, gid):
        return False
    stamp = datetime.fromtimestamp(now, UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
    fresh = directory / (stamp + str(secrets.randbelow(10**9)))
    fresh.mkdir(mode=0o755)
    _own(fresh, 0o755, None, gid)
    for path, file in files.items():
        _write_file(fresh, path, file, gid)
    old = Path(os.readlink(current)).name if current.is_symlink() else None
    turning = directory / "..data_tmp"
    turning.unlink(missing_ok=True)
    turning.symlink_to(fresh.name)
    turning.replace(current)
    _link_names(directory, {PurePosixPath(path).parts[0] for path in files})
    if old is not None:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def _holds(data: Path, files: Mapping[str, File], gid: int | None) -> bool:
    if not data.is_dir():
        return False
    root = data.resolve()
    present = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    if present != set(files):
        return False
    for path, file in files.items():
        on_disk = root / path
        if on_disk.read_bytes() != file.content or on_disk.stat().st_mode & 0o777 != _mode(file, gid):
            return False
    return True


def _write_file(root: Path, path: str, file: File, gid: int | None) -> None:
    target = root / path
    for parent in reversed(target.relative_to(root).parents[:-1]):
        directory = root / parent
        if not directory.exists():
            directory.mkdir(mode=0o755)
            _own(directory, 0o755, None, gid)
    target.write_bytes(file.content)
    _own(target, _mode(file, gid), file.uid, gid)


def _mode(file: File, gid: int | None) -> int:
    return file.mode & 0o777 | (0 if gid is None else 0o440)


def _own(path: Path, mode: int, uid: int | None, gid: int | None) -> None:
    if uid is not None or gid is not None:
        os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
    if path.is_dir() and gid is not None:
        mode |= 0o2110
    path.chmod(mode)


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
