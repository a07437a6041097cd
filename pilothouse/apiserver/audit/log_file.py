"""A file of lines that is put aside when it has grown too large. Source: `gopkg.in/natefinch/lumberjack.v2`, which upstream writes with."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

_DAY_S = 86400.0
log = get_logger("pilothouse.apiserver.audit")


class LogFile:
    """`-` as the path is the standard output. `max_backups` and `max_age_days` of zero keep all old files.

    `max_bytes` of zero lets the file grow without end. Old files are compressed in a thread.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        max_bytes: int = 0,
        max_backups: int = 0,
        max_age_days: int = 0,
        compresses: bool = False,
    ) -> None:
        """Raises OSError if the file cannot be opened."""
        self._path = Path(path)
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._max_age_days = max_age_days
        self._compresses = compresses
        self._compressing: threading.Thread | None = None
        self._is_output = path == "-"
        self._file: BinaryIO = sys.stdout.buffer if self._is_output else self._open()
        self._size = 0 if self._is_output else self._path.stat().st_size

    def write(self, line: bytes) -> None:
        """Append a line, at once. Raises OSError."""
        if not self._is_output and self._size and 0 < self._max_bytes < self._size + len(line):
            self._rotate()
        self._file.write(line)
        self._file.flush()
        self._size += len(line)

    def close(self) -> None:
        """Also wait until the file that was put aside last is compressed."""
        if not self._is_output:
            self._file.close()
        if self._compressing is not None:
            self._compressing.join()

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
        if not self._compresses:
            self._drop_old(self._clock.now())
            return
        tidying = threading.Thread(target=self._tidy, args=(self._compressing, self._clock.now()), name="audit-log")
        self._compressing = tidying
        tidying.start()

    def _tidy(self, before: threading.Thread | None, now: float) -> None:
        """In a thread of its own, after the one `before`: remove old files and compress those that stay."""
        if before is not None:
            before.join()
        _compress([backup for backup in self._drop_old(now) if backup.suffix != ".gz"])

    def _drop_old(self, now: float) -> list[Path]:
        """Remove the old files that are too many or too old; those that stay, the newest first."""
        pattern = f"{self._path.stem}-*{self._path.suffix}"
        parent = self._path.parent
        backups = sorted([*parent.glob(pattern), *parent.glob(f"{pattern}.gz")], reverse=True)
        kept = []
        for number, backup in enumerate(backups):
            age_s = now - backup.stat().st_mtime
            is_old = self._max_age_days and age_s > self._max_age_days * _DAY_S
            if is_old or (self._max_backups and number >= self._max_backups):
                backup.unlink(missing_ok=True)
            else:
                kept.append(backup)
        return kept


def _compress(files: Sequence[Path]) -> None:
    """Each file becomes one with `.gz` at its end. One that cannot be stays as it is."""
    for file in files:
        packed = file.with_name(f"{file.name}.gz")
        try:
            with file.open("rb") as source, gzip.open(packed, "wb") as target:
                shutil.copyfileobj(source, target)
            packed.chmod(0o600)
            file.unlink()
        except OSError as error:
            packed.unlink(missing_ok=True)
            log.error("an old audit log is not compressed", file=str(file), error=str(error))
