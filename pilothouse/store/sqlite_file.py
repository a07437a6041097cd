"""The file of a SQLite store: found, locked, opened, checked; and SQLite's errors in words that help.

Beside `store.db` lie SQLite's own `-wal` and the lock file, which names the process that holds the store. All are readable by their
owner alone, since they hold Secrets. SQLite's exclusive mode saves every commit the locks that only other processes need.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from pilothouse.store.base import OutcomeUnknown, StoreUnavailable

_APPLICATION_ID = 0x50494C4F
_SCHEMA_VERSION = 1
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE log (
    revision INTEGER PRIMARY KEY,  -- of the write
    key TEXT NOT NULL,
    previous INTEGER NOT NULL,     -- the revision it replaced, or 0
    expires REAL,                  -- seconds since the epoch, or NULL
    value BLOB                     -- NULL for a deletion
);
CREATE TABLE meta (compacted INTEGER NOT NULL);
INSERT INTO meta VALUES (1);
PRAGMA application_id = %d;
PRAGMA user_version = %d;
COMMIT;
""" % (_APPLICATION_ID, _SCHEMA_VERSION)  # noqa: UP031
_WAL_LIMIT_BYTES = 16 * 1024 * 1024


class SqliteFile:
    """An open, locked store file."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it. Raises StoreUnavailable."""
        self.path = path
        self._lock = self._take_lock()
        try:
            self.connection = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let go of the file. Raises nothing: what was acknowledged is safe already."""
        try:
            self.connection.close()
        except sqlite3.Error:
            pass
        finally:
            os.close(self._lock)

    def unavailable(self, error: sqlite3.Error | OSError) -> StoreUnavailable:
        """`error` in a sentence that says what happened, to which file, and what to do."""
        return StoreUnavailable(_explain(self.path, error))

    def undone(self, error: sqlite3.Error) -> StoreUnavailable:
        """The same for a commit that failed.

        If it is the disk that failed, all may have been written and only not be known to be safe: should the process end before the
        next commit, the next start finds it done.
        """
        text = _explain(self.path, error)
        code = getattr(error, "sqlite_errorcode", None)
        is_known = code is not None and code & 0xFF != sqlite3.SQLITE_IOERR
        return StoreUnavailable(text) if is_known else OutcomeUnknown(text)

    def _take_lock(self) -> int:
        path = self.path.with_name(self.path.name + ".lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self.unavailable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            who = f" (process {holder})" if holder else ""
            raise StoreUnavailable(
                f"the store {self.path} is in use by another server{who}: stop it first, or give this one another data directory"
            ) from None
        try:
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(descriptor)
            raise self.unavailable(error) from error
        return descriptor

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=32
        )

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise self.unavailable(error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self.unavailable(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        execute = connection.execute
        (application_id,) = execute("PRAGMA application_id").fetchone()
        (version,) = execute("PRAGMA user_version").fetchone()
        (tables,) = execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application_id != _APPLICATION_ID:
            raise StoreUnavailable(
                f"{self.path} is a database of another program: give the store another path, or move that file away"
            )
        if version > _SCHEMA_VERSION:
            raise StoreUnavailable(
                f"the store {self.path} was written by a newer version of Pilothouse (format {version}, this one reads "
                f"{_SCHEMA_VERSION}): install that version again, or give this one another data directory"
            )
        if not tables:
            execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        if not tables:
            connection.executescript(_SCHEMA)


def _explain(path: Path, error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return (
            f"the store {path} cannot be opened: {error.strerror or error}. Make it and its directory writable for this user, "
            "or give the server another data directory"
        )
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return f"the store {path} cannot write: the disk is full. Free space on it; nothing is lost, and writing goes on by itself"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"the store {path} is damaged ({error}). Put a backup in its place, or move it away to start with an empty cluster"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return (
                f"the store {path} cannot be written ({error}). Make the file and its directory writable for this user, "
                "or give the server another data directory"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"the store {path} is locked by another program: stop what has the file open"
        case sqlite3.SQLITE_IOERR:
            return (
                f"the store {path} cannot be read or written ({error}). Check the disk and the system's log; "
                "nothing that was acknowledged is lost"
            )
        case _:
            return f"the store {path} failed: {error}"
