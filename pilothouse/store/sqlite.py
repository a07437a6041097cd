"""A store in one SQLite file: what was acknowledged survives a crash of the process or of the machine.

The file is a log: a row a write, in the order of revisions, with the value; old rows are deleted as history is compacted. Where each
key stands is kept in memory (`ledger`), so a write is one append and one fsync for all requests of a batch (WAL,
`synchronous=FULL`). Rows are added on the event loop, which only fills SQLite's page cache; the commit, which waits for the disk, is
the writer thread's. Reads go to a second connection in a thread of their own.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from pilothouse.kit.clock import Clock
from pilothouse.store.base import Revision, StoreUnavailable
from pilothouse.store.ledger import Header, Row
from pilothouse.store.local import HISTORY_S, HISTORY_WRITES, LocalStore
from pilothouse.store.log import Done
from pilothouse.store.sqlite_file import SqliteFile

_INSERT = "INSERT INTO log (revision, key, previous, expires, value) VALUES (?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM log WHERE revision IN (SELECT value FROM json_each(?))"
_COMPACT = "UPDATE meta SET compacted = ?"
_HEADERS = "SELECT revision, key, previous, expires, value IS NULL FROM log ORDER BY revision"
_READ = "SELECT revision, value FROM log WHERE revision IN (SELECT value FROM json_each(?)) AND value IS NOT NULL"
_FREE_PAGES = 2048
"""Free pages in the file are used again; when there are more than these, some are given back to the file system."""
_VACUUM_PAGES = 512


class _Commit(NamedTuple):
    """What the writer thread does with the transaction that the event loop has begun."""

    garbage: Sequence[Revision]
    compacted: Revision
    done: Done


class SqliteLog:
    """See the module and `Log`."""

    is_instant = False

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._connection = file.connection
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commits: SimpleQueue[_Commit | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._reading: ThreadPoolExecutor | None = None
        self._reader: sqlite3.Connection | None = None

    def load(self) -> tuple[Iterator[Header], Revision]:
        try:
            (compacted,) = self._connection.execute("SELECT compacted FROM meta").fetchone()
            headers = [Header._make(row) for row in self._connection.execute(_HEADERS)]
        except sqlite3.Error as error:
            raise self._file.unavailable(error) from error
        return iter(headers), Revision(compacted)

    def write(self, rows: Sequence[Row], garbage: Sequence[Revision], compacted: Revision, done: Done) -> None:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = Thread(target=self._commit_all, name="store-writer", daemon=True)
            self._thread.start()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, rows)
        except sqlite3.Error as error:
            self._roll_back()
            assert self._loop is not None
            self._loop.call_soon(done, self._file.unavailable(error))
            return
        self._commits.put(_Commit(garbage, compacted, done))

    def _commit_all(self) -> None:
        """The writer thread."""
        assert self._loop is not None
        while (commit := self._commits.get()) is not None:
            error: StoreUnavailable | None = None
            try:
                self._commit(commit)
            except sqlite3.Error as cause:
                error = self._file.unavailable(cause)
                self._roll_back()
            self._loop.call_soon_threadsafe(commit.done, error)

    def _commit(self, commit: _Commit) -> None:
        execute = self._connection.execute
        if commit.garbage:
            execute(_DELETE, (json.dumps(commit.garbage),))
            execute(_COMPACT, (commit.compacted,))
            (free,) = execute("PRAGMA freelist_count").fetchone()
            if free > _FREE_PAGES:
                execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        execute("COMMIT")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def read(self, revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        if self._reading is None:
            self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, revisions)

    def _read(self, revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        try:
            if self._reader is None:
                self._reader = self._file.connect()
            return dict(self._reader.execute(_READ, (json.dumps(revisions),)).fetchall())
        except sqlite3.Error as error:
            raise self._file.unavailable(error) from error

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._thread is not None:
            self._commits.put(None)
            await loop.run_in_executor(None, self._thread.join)
        if self._reading is not None:
            self._reading.shutdown()
        if self._reader is not None:
            self._reader.close()
        self._file.close()


class SqliteStore(LocalStore):
    """A Store in a SQLite file. Make one with `open`; one server at a time has it open."""

    @classmethod
    async def open(
        cls, path: Path, clock: Clock, *, history_s: float = HISTORY_S, history_writes: int = HISTORY_WRITES
    ) -> SqliteStore:
        """Opens the file, or creates it and its directory. Raises StoreUnavailable, also if another process has it."""
        file = SqliteFile(path)
        try:
            store = cls(SqliteLog(file), clock, history_s=history_s, history_writes=history_writes)
        except BaseException:
            file.close()
            raise
        store.start()
        return store
