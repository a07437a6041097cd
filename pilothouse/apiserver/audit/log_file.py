"""A file of lines that is put aside when it has grown too large. Source: `gopkg.in/natefinch/lumberjack.v2`, which upstream writes with."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pilothouse.kit.clock import Clock

DEFAULT_MAX_BYTES = 100 << 20
_DAY_S = 86400.0


class LogFile:
    """`-` as the path is the standard output. `max_backups` and `max_age_days` of zero keep all old files."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_backups: int = 0,
        max_age_days: int = 0,
    ) -> None:
        """Raises OSError if the file cannot be opened."""
        self._path = Path(path)
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._max_age_days = max_age_days
        self._is_output = path == "-"
        self._file: BinaryIO = sys.stdout.buffer if self._is_output else self._open()
        self._size = 0 if self._is_output else self._path.stat().st_size

    def write(self, line: bytes) -> None:
        """Append a line, at once. Raises OSError."""
        if not self._is_output and self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        self._file.write(line)
        self._file.flush()
        self._size += len(line)

    def close(self) -> None:
        if not self._is_output:
            self._file.close()

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "ab")

    def _rotate(self) -> None:
        self._file.close()
        moment = datetime.fromtimestamp(self._clock.now(), UTC)
        stamp = f"{moment:%Y-%m-%dT%H-%M-%S}.{moment.microsecond // 1000:03d}"
        self._path.replace(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        self._file = self._open()
        self._size = 0
        backups = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        for number, backup in enumerate(backups):
            age_s = self._clock.now() - backup.stat().st_mtime
            is_old = self._max_age_days and age_s > self._max_age_days * _DAY_S
            if is_old or (self._max_backups and number >= self._max_backups):
                backup.unlink(missing_ok=True)
