"""A store in one SQLite file: what was acknowledged survives a crash of the process or of the machine.

The file is a log: a row a write, in the order of revisions, with the value; old rows are deleted as history is compacted. Where each
key stands is kept in memory (`ledger`), so a write is one append and one fsync for all requests of a batch (WAL,
`synchronous=FULL`). Rows are added on the event loop, which only fills SQLite's page cache; the commit, which waits for the disk, is
done in a thread. Reads, which the watch cache makes rare, are done by the same thread, some rows at a time. They ask for rows that
are durable, so it does not matter that the one connection may be in the middle of a transaction.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

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


_READ_ROWS = 256
"""How many rows are read at a time, so that commits need not wait long."""

Job = Callable[[], None]


class SqliteLog:
    """See the module and `Log`."""

    is_instant = False

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._connection = file.connection
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def load(self) -> tuple[Iterator[Header], Revision]:
        try:
            (compacted,) = self._connection.execute("SELECT compacted FROM meta").fetchone()
            headers = [Header._make(row) for row in self._connection.execute(_HEADERS)]
        except sqlite3.Error as error:
            raise self._file.unavailable(error) from error
        return iter(headers), Revision(compacted)

    def write(self, rows: Sequence[Row], garbage: Sequence[Revision], compacted: Revision, done: Done) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, rows)
        except sqlite3.Error as error:
            self._roll_back()
            loop.call_soon(done, self._file.unavailable(error))
            return

        def commit() -> None:
            loop.call_soon_threadsafe(done, self._commit(garbage, compacted))

        self._submit(commit)

    def _commit(self, garbage: Sequence[Revision], compacted: Revision) -> StoreUnavailable | None:
        """Finish the transaction that the event loop has begun. In the thread."""
        execute = self._connection.execute
        try:
            if garbage:
                execute(_DELETE, (json.dumps(garbage),))
                execute(_COMPACT, (compacted,))
                (free,) = execute("PRAGMA freelist_count").fetchone()
                if free > _FREE_PAGES:
                    execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            return self._file.unavailable(error)
        return None

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def read(self, revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        loop = asyncio.get_running_loop()
        values: dict[Revision, bytes] = {}
        for start in range(0, len(revisions), _READ_ROWS):
            answer: asyncio.Future[dict[Revision, bytes]] = loop.create_future()
            self._submit(partial(self._read, revisions[start : start + _READ_ROWS], loop, answer))
            values |= await answer
        return values

    def _read(
        self,
        revisions: Sequence[Revision],
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[dict[Revision, bytes]],
    ) -> None:
        """In the thread."""
        try:
            values = dict(self._connection.execute(_READ, (json.dumps(revisions),)).fetchall())
        except sqlite3.Error as error:
            loop.call_soon_threadsafe(_fail, answer, self._file.unavailable(error))
        else:
            loop.call_soon_threadsafe(_settle, answer, values)

    def _submit(self, job: Job) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="store", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def close(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._file.close()


def _settle(answer: asyncio.Future[dict[Revision, bytes]], values: dict[Revision, bytes]) -> None:
    if not answer.done():
        answer.set_result(values)


def _fail(answer: asyncio.Future[dict[Revision, bytes]], error: StoreUnavailable) -> None:
    if not answer.done():
        answer.set_exception(error)


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
