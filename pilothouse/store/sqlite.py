"""A store in one SQLite file: what was acknowledged survives a crash of the process or of the machine.

The file is a log: a row a write, in the order of revisions, with the value; old rows are deleted as history is compacted. Where each
key stands is kept in memory (`ledger`), so a write is one append and one fsync for all requests of a batch (WAL,
`synchronous=FULL`). There is one connection. The event loop adds rows, which only fills SQLite's page cache, and reads, which the watch
cache makes rare, some rows at a time; a thread does the commits, which wait for the disk. The two never use it at the same time.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

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


_READ_ROWS = 64
"""How many rows are read before others get their turn."""
_YIELD_AFTER_S = 0.001
_YIELD_S = 0.0005

Job = Callable[[], None]


class SqliteLog:
    """See the module and `Log`."""

    is_instant = False

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._connection = file.connection
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._committed: asyncio.Future[None] | None = None
        """While a commit is under way."""

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

        self._committed = loop.create_future()
        handing_over = Lock()
        handing_over.acquire()
        timer = loop.call_later(_YIELD_AFTER_S, self._yield, handing_over, loop, 2 * _YIELD_AFTER_S)

        def commit() -> None:
            error = self._commit(garbage, compacted)
            loop.call_soon_threadsafe(self._finish, timer, done, error)
            handing_over.release()

        self._submit(commit)

    def _yield(self, handing_over: Lock, loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
        """Let the thread finish.

        A thread that comes back from the disk has to take the interpreter's lock. It hardly ever gets it from a loop that is never idle,
        since that gives the lock up often but only for a moment each time: commits would wait for seconds. So if a commit takes
        long, the loop blocks until the thread is done, if only for a short while, because it may be the disk that is slow.
        """
        if not handing_over.acquire(timeout=_YIELD_S) and self._committed is not None:
            loop.call_later(delay_s, self._yield, handing_over, loop, 2 * delay_s)

    def _finish(self, timer: asyncio.TimerHandle, done: Done, error: StoreUnavailable | None) -> None:
        timer.cancel()
        committed, self._committed = self._committed, None
        assert committed is not None
        committed.set_result(None)
        done(error)

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
        except sqlite3.Error as error:
            self._roll_back()
            return self._file.unavailable(error)
        try:
            execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            return self._file.undone(error)
        return None

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def read(self, revisions: Sequence[Revision]) -> dict[Revision, bytes]:
        values: dict[Revision, bytes] = {}
        for start in range(0, len(revisions), _READ_ROWS):
            if start:
                await asyncio.sleep(0)
            while self._committed is not None:
                await asyncio.shield(self._committed)
            try:
                values.update(
                    self._connection.execute(_READ, (json.dumps(revisions[start : start + _READ_ROWS]),)).fetchall()
                )
            except sqlite3.Error as error:
                raise self._file.unavailable(error) from error
        return values

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
