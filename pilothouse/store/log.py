"""What a local store needs of its log: to append rows durably, to read values, to delete them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from pilothouse.store.base import Revision, StoreUnavailable
from pilothouse.store.ledger import Header, Row

Done = Callable[[StoreUnavailable | None], None]


class Log(Protocol):
    """Rows by revision. Used from one event loop."""

    @property
    def is_instant(self) -> bool:
        """Whether `write` finishes before it returns, so that gathering requests gains nothing."""

    def load(self) -> tuple[Iterable[Header], Revision]:
        """All rows in order without their values, and the last `compacted` written. Called once, before anything else."""

    def write(self, rows: Sequence[Row], garbage: Sequence[Revision], compacted: Revision, done: Done) -> None:
        """Add rows, delete those of `garbage` and note `compacted`, all of it or nothing, then call `done` on the event loop.

        One write at a time.
        """

    async def read(self, revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        """The values of rows; those that are deletions or do not exist are left out. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Let go of files. No write is under way."""
