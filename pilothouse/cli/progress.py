"""Progress of a command that takes a while: one line a step, with its time, in place on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Writes steps to a stream. On anything but a terminal each step is one plain line, written when it ends."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` as under way, and then as done with its duration, or as failed if the block raises."""
        start = time.monotonic()
        if self._live:
            self._write(f"  … {title}")
        try:
            yield
        except BaseException:
            self._end(f"  ✗ {title}")
            raise
        self._end(f"  ✓ {title} ({time.monotonic() - start:.1f} s)")

    def note(self, text: str) -> None:
        """A line of its own."""
        self._end(text)

    def _end(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
