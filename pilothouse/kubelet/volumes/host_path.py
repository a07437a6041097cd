"""hostPath volumes: a path of the node, which must be of the type that the pod says. Source: `pkg/volume/hostpath`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pilothouse.kubelet.seams import NotMounted

_CHECKS: Mapping[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def set_up(source: Mapping[str, Any]) -> Path:
    """The path, made if its type says so. Raises NotMounted."""
    path = Path(source["path"])
    kind = source.get("type") or ""
    if not kind:
        return path
    try:
        if kind == "DirectoryOrCreate" and not path.exists():
            path.mkdir(mode=0o755, parents=True)
        elif kind == "FileOrCreate" and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except OSError as error:
        raise NotMounted(f"hostPath type check failed: {path}: {error.strerror}") from error
    matches, name = _CHECKS[kind.removesuffix("OrCreate")]
    if not matches(mode):
        raise NotMounted(f"hostPath type check failed: {path} is not {name}")
    return path
