"""`pilothouse apiserver` that dies at a point of its work, as `kill -9` would have it: `python -m tests.store.histories.victim …`.

The environment's KILL_AT names the point and which time it is passed (`commit.before:3`), counted from the signal SIGUSR1 on, or from the
start with `!commit.before:3`. Nothing of this is in the server: the points are wrapped around it here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from functools import wraps
from typing import Any

from pilothouse.apiserver.app import ApiServer
from pilothouse.kit.http.message import Request, Response
from pilothouse.main import cli
from pilothouse.store import local
from pilothouse.store.feed import Feeds
from pilothouse.store.sqlite import SqliteStore
from pilothouse.store.sqlite_file import SqliteFile
from pilothouse.store.watcher import Watcher

STATEMENTS = {"BEGIN": "begin", "INSERT": "insert", "DELETE": "forget", "COMMIT": "commit"}
LOCAL_POINTS = (
    *(f"{name}.{when}" for name in STATEMENTS.values() for when in ("before", "after")),
    "insert.within",
    "apply.before", "tell.before", "tell.after", "answer.before", "answer.after", "event.before", "event.after",
)  # fmt: skip
"""In the order of a write, but for `forget`, which deletes old rows along with some writes."""
ETCD_POINTS = (
    "txn.before", "txn.after", "tell.before", "tell.after", "answer.before", "answer.after", "event.before", "event.after",
)  # fmt: skip
HISTORY_WRITES = 400
"""So little that history is forgotten all the time, and so much that no watcher falls behind."""


class Trap:
    """Counts how often its point is passed, and ends the process at the right time."""

    def __init__(self, text: str) -> None:
        self.point, _, number = text.removeprefix("!").partition(":")
        self._left = int(number or 1)
        self._is_armed = text.startswith("!")
        signal.signal(signal.SIGUSR1, self._arm)

    def _arm(self, *_: object) -> None:
        self._is_armed = True

    def passes(self, point: str) -> None:
        if self._is_armed and point == self.point:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: type, method: str, name: str) -> None:
        """Put the points `<name>.before` and `<name>.after` around a method."""
        original = getattr(owner, method)

        @wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.passes(f"{name}.before")
            result = original(*arguments, **named)
            self.passes(f"{name}.after")
            return result

        setattr(owner, method, wrapped)


def set_up(trap: Trap) -> None:
    class Statements(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]
            name = STATEMENTS.get(sql.partition(" ")[0], "")
            trap.passes(f"{name}.before")
            cursor = super().execute(sql, *parameters)
            trap.passes(f"{name}.after")
            return cursor

        def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:  # type: ignore[override]
            trap.passes("insert.before")
            cursor = super().executemany(sql, self._each(rows))
            trap.passes("insert.after")
            return cursor

        def _each(self, rows: Iterable[Any]) -> Iterator[Any]:
            for number, row in enumerate(rows):
                if number:
                    trap.passes("insert.within")
                yield row

    def connect(file: SqliteFile) -> sqlite3.Connection:
        return sqlite3.connect(file.path, isolation_level=None, check_same_thread=False, factory=Statements)

    SqliteFile._connect = connect  # type: ignore[method-assign]
    open_store = SqliteStore.open
    SqliteStore.open = lambda path, clock: open_store(path, clock, history_writes=HISTORY_WRITES)  # type: ignore[method-assign]
    local.GARBAGE_ROWS = 20
    trap.around(local.LocalStore, "_written", "apply")
    trap.around(Feeds, "tell", "tell")
    trap.around(Watcher, "push", "event")
    set_up_answers(trap)
    if any(argument.startswith("--etcd-servers") for argument in sys.argv):
        set_up_etcd(trap)


def set_up_answers(trap: Trap) -> None:
    """The edge writes an answer as soon as it has it, so that a callback of the loop comes after that."""
    original = ApiServer.handle

    async def handle(server: ApiServer, request: Request) -> Response:
        response = await original(server, request)
        if request.method != "GET":
            trap.passes("answer.before")
            asyncio.get_running_loop().call_soon(trap.passes, "answer.after")
        return response

    ApiServer.handle = handle  # type: ignore[method-assign]


def set_up_etcd(trap: Trap) -> None:
    from pilothouse.store.etcd.client import EtcdClient

    original = EtcdClient.write

    async def write(client: EtcdClient, path: str, request: Any, response: Any) -> Any:
        trap.passes("txn.before")
        answer = await original(client, path, request, response)
        trap.passes("txn.after")
        return answer

    EtcdClient.write = write  # type: ignore[method-assign]


def main() -> int:
    set_up(Trap(os.environ["KILL_AT"]))
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
