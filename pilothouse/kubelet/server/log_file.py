"""Reading of a container's log as the runtime writes it.

A line is `<RFC 3339 time with nanoseconds> <stdout|stderr> <tags> <text>`; the tag `P` says that the program's line goes on in the next
one. Files are read in pieces: forwards from where the wanted lines begin, which is found backwards from the end. Source: cri-api,
"CRI log format" (kubelet-cri-logging.md); `k8s.io/cri-client/pkg/logs`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from pilothouse.kit.clock import Clock

POLL_S = 0.1
"""How often a log that is followed is looked at."""
_BLOCK_BYTES = 16 * 1024
_PIECE_BYTES = 128 * 1024
_NANO = 1_000_000_000
_STREAMS = (b"stdout", b"stderr")


class LogStream(Enum):
    ALL = "All"
    STDOUT = "Stdout"
    STDERR = "Stderr"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which part of a log is wanted, and how. `since_ns` is since the epoch."""

    follow: bool = False
    tail_lines: int | None = None
    since_ns: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    stream: LogStream = LogStream.ALL


class Extract:
    """Takes the wanted text out of lines of a log, in their order. What it remembers is where in it that is."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._stream = None if options.stream is LogStream.ALL else options.stream.value.lower().encode()
        self._left = options.limit_bytes
        self._lines_left = None if options.follow else options.tail_lines
        self._at_line_start = True

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows is wanted."""
        return self._left == 0 or self._lines_left == 0

    def take(self, lines: Sequence[bytes], end: bytes = b"\n") -> bytes:
        """The wanted text of some lines, which come without their line feeds. Lines that are not of the format are left out."""
        options = self._options
        taken: list[bytes] = []
        for line in lines:
            if self.is_over:
                break
            parts = line.split(b" ", 3)
            if len(parts) != 4 or parts[1] not in _STREAMS:
                continue
            stamp, stream, tags, text = parts
            if self._lines_left is not None:
                self._lines_left -= 1
            is_partial = tags.partition(b":")[0] == b"P"
            if not is_partial:
                text += end
            begins, self._at_line_start = self._at_line_start, not is_partial
            if options.since_ns is not None and (nanoseconds(stamp) or 0) < options.since_ns:
                continue
            if self._stream is not None and stream != self._stream:
                continue
            if options.timestamps and begins:
                text = fixed_stamp(stamp) + b" " + text
            if self._left is not None:
                text = text[: self._left]
                self._left -= len(text)
            taken.append(text)
        return b"".join(taken)


def nanoseconds(stamp: bytes) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 time; None if it is none."""
    text = stamp.decode("latin-1")
    whole, zone = text[:19], text[19:]
    fraction = 0
    if zone.startswith("."):
        digits = zone[1:].rstrip("Z").partition("+")[0].partition("-")[0]
        zone = zone[1 + len(digits) :]
        if not digits.isdigit():
            return None
        fraction = int(digits[:9].ljust(9, "0"))
    try:
        return int(datetime.fromisoformat(whole + zone).timestamp()) * _NANO + fraction
    except ValueError:
        return None


def fixed_stamp(stamp: bytes) -> bytes:
    """The time with all nine digits of its fraction, as `timestamps` shows it."""
    if len(stamp) == 30 and stamp.endswith(b"Z"):
        return stamp
    whole, zone = stamp[:19], stamp[19:]
    digits = b""
    if zone.startswith(b"."):
        end = next((i for i in range(1, len(zone)) if not zone[i : i + 1].isdigit()), len(zone))
        digits, zone = zone[1:end], zone[end:]
    return whole + b"." + digits[:9].ljust(9, b"0") + zone


def tail_offset(descriptor: int, lines: int) -> int:
    """Where the last `lines` whole lines of a file begin; what follows the last line feed does not count as one."""
    position = os.fstat(descriptor).st_size
    wanted = lines + 1
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        block = os.pread(descriptor, size, position)
        found = block.count(b"\n")
        if found < wanted:
            wanted -= found
            continue
        end = len(block)
        for _ in range(wanted):
            end = block.rindex(b"\n", 0, end)
        return position + end + 1
    return 0


async def read(path: Path, options: LogOptions, is_running: Callable[[], bool], clock: Clock) -> AsyncIterator[bytes]:
    """The wanted text of the log at `path`.

    A log that is followed ends after the container's last line; across rotation it goes on in the new file. Raises OSError where
    the file cannot be opened, which is at the first step: so a caller can still refuse.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield b""
        extract = Extract(options)
        offset = tail_offset(descriptor, options.tail_lines) if options.tail_lines is not None else 0
        rest = b""
        while True:
            # Asked before reading: what a container has written last must not be missed.
            goes_on = options.follow and is_running()
            while not extract.is_over and (piece := os.pread(descriptor, _PIECE_BYTES, offset)):
                offset += len(piece)
                *lines, rest = (rest + piece).split(b"\n")
                if text := extract.take(lines):
                    yield text
                # A file that is in memory is read without waiting: others must get their turn.
                await asyncio.sleep(0)
            if extract.is_over:
                return
            if options.follow and (reopened := _reopened(path, descriptor, offset)) is not None:
                os.close(descriptor)
                descriptor, offset, rest = reopened, 0, b""
            elif goes_on:
                await clock.sleep(POLL_S)
            else:
                if rest and (text := extract.take([rest], end=b"")):
                    yield text
                return
    finally:
        os.close(descriptor)


def _reopened(path: Path, descriptor: int, offset: int) -> int | None:
    """The file that has taken the place of the one that was read to `offset`, if there is one and nothing of the old is left."""
    old = os.fstat(descriptor)
    try:
        new = os.stat(path)
        if (new.st_dev, new.st_ino) == (old.st_dev, old.st_ino) or old.st_size > offset:
            return None
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
