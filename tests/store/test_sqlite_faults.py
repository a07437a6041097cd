"""What a disk and a crash can leave of a SQLite store: commits half written, commits that fail, pages and values that are gone."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import ABSENT, OutcomeUnknown, Revision, StoreUnavailable
from pilothouse.store.sqlite import SqliteStore
from pilothouse.store.sqlite_file import SqliteFile
from tests.store.suite import PODS, state, take

KEY = PODS + "x/a"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


# A crash in the middle of a commit


async def written(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """How long SQLite's log was after each commit, and the state then. The files stay as a crash would leave them."""
    store = await SqliteStore.open(path, VirtualClock())
    log = path.with_name("store.db-wal")
    steps = [(log.stat().st_size, await state(store, PODS))]
    for number, size in enumerate((10, 9000, 1, 3000, 40_000)):
        await store.put(f"{PODS}x/{number % 3}", bytes([65 + number]) * size)
        steps.append((log.stat().st_size, await state(store, PODS)))
    await store.delete(f"{PODS}x/0")
    steps.append((log.stat().st_size, await state(store, PODS)))
    for file in list(path.parent.iterdir()):
        shutil.copy(file, path.parent.with_name("crashed-" + file.name))
    await store.close()
    return steps


async def after_crash(path: Path, spoil: Callable[[bytearray], None]) -> dict[str, Any]:
    """The state after a start on what the crash left, with its log spoilt."""
    for name in ("store.db", "store.db-wal"):
        content = bytearray(path.parent.with_name("crashed-" + name).read_bytes())
        if name.endswith("wal"):
            spoil(content)
        path.with_name(name).write_bytes(content)
    store = await SqliteStore.open(path, VirtualClock())
    try:
        found = await state(store, PODS)
        last = max((revision for _, revision in found.values()), default=Revision(0))
        assert await store.put(KEY, b"more", expect=ABSENT) > last
        return found
    finally:
        await store.close()


async def test_a_log_cut_off_anywhere_is_whole_commits(path: Path) -> None:
    steps = await written(path)
    sizes = [size for size, _ in steps]
    assert sizes == sorted(set(sizes)), "each commit adds to the log"
    begin, end = sizes[0], sizes[-1]
    cuts = sorted({*range(begin, end, 1500), *(size + more for size, _ in steps for more in (-1, 0, 1))})
    for cut in cuts:
        expected = [found for size, found in steps if size <= max(cut, begin)][-1]

        def cut_off(log: bytearray, cut: int = cut) -> None:
            del log[cut:]

        if cut >= begin:
            assert await after_crash(path, cut_off) == expected, f"cut off at {cut}"


async def test_a_log_with_a_spoilt_end_is_what_came_before(path: Path) -> None:
    """As after a loss of power, when what was not yet safe is anything."""
    steps = await written(path)
    for (start, before), (end, _) in itertools.pairwise(steps):
        for place in (start + 30, (start + end) // 2, end - 1):

            def flip(log: bytearray, place: int = place) -> None:
                log[place] ^= 0xFF

            assert await after_crash(path, flip) == before, f"spoilt at {place}"


# A disk that fails


class Disk:
    """Fails statements with SQLite's error codes."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}

    def check(self, sql: str) -> None:
        code = self.failures.get(sql.partition(" ")[0])
        if code is not None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = code
            raise error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]
            disk.check(sql)
            return super().execute(sql, *parameters)

        def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]
            disk.check(sql)
            return super().executemany(sql, *parameters)

    def connect(file: SqliteFile) -> sqlite3.Connection:
        return sqlite3.connect(file.path, isolation_level=None, check_same_thread=False, factory=Connection)

    monkeypatch.setattr(SqliteFile, "_connect", connect)
    return disk


@pytest.mark.parametrize(
    ("statement", "code", "kind"),
    [
        ("BEGIN", sqlite3.SQLITE_IOERR_READ, StoreUnavailable),
        ("INSERT", sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable),
        ("INSERT", sqlite3.SQLITE_READONLY, StoreUnavailable),
        ("COMMIT", sqlite3.SQLITE_FULL, StoreUnavailable),
        ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
    ],
)
async def test_a_failing_disk_is_told_and_writing_goes_on(
    path: Path, disk: Disk, statement: str, code: int, kind: type[StoreUnavailable]
) -> None:
    store = await SqliteStore.open(path, VirtualClock())
    try:
        first = await store.put(KEY, b"1")
        disk.failures[statement] = code
        answers = await asyncio.gather(store.put(KEY, b"2"), store.put(PODS + "x/b", b""), return_exceptions=True)
        assert [type(answer) for answer in answers] == [kind, kind]
        assert f"the store {path} " in str(answers[0])
        assert await state(store, PODS) == {KEY: (b"1", first)}
        disk.failures.clear()
        second = await store.put(KEY, b"3", expect=first)
        assert await state(store, PODS) == {KEY: (b"3", second)}
    finally:
        await store.close()
    store = await SqliteStore.open(path, VirtualClock())
    assert await state(store, PODS) == {KEY: (b"3", second)}
    await store.close()


async def test_a_disk_that_cannot_be_read_fails_reads_alone(path: Path, disk: Disk) -> None:
    store = await SqliteStore.open(path, VirtualClock())
    try:
        await store.put(KEY, b"1")
        disk.failures["SELECT"] = sqlite3.SQLITE_IOERR_READ
        with pytest.raises(StoreUnavailable, match="Check the disk and the system's log"):
            await store.get(KEY)
        disk.failures["SELECT"] = sqlite3.SQLITE_CORRUPT
        with pytest.raises(StoreUnavailable, match="is damaged"):
            await store.list(PODS)
        second = await store.put(KEY, b"2")
        disk.failures.clear()
        assert await state(store, PODS) == {KEY: (b"2", second)}
    finally:
        await store.close()


# Clocks


async def test_a_clock_that_goes_back_loses_nothing(path: Path) -> None:
    """History goes by how long the server has run; what expires does so at its time, however often the clock passes it."""
    clock = VirtualClock()
    store = await SqliteStore.open(path, clock)
    first = await store.put(KEY, b"1", ttl_s=30)
    second = await store.put(PODS + "x/b", b"1")
    await store.close()
    earlier = VirtualClock(clock.now() - 86_400)
    store = await SqliteStore.open(path, earlier)
    try:
        await earlier.advance(100)
        assert await state(store, PODS) == {KEY: (b"1", first), PODS + "x/b": (b"1", second)}
        third = await store.put(PODS + "x/b", b"2", expect=second)
        assert third == second + 1
        assert await state(store, PODS, second) == {KEY: (b"1", first), PODS + "x/b": (b"1", second)}
        async with aclosing(store.watch(PODS, after=third)) as watch:
            await earlier.advance(86_400)
            (expired,) = await take(watch, 1)
        assert (expired.key, expired.previous) == (KEY, first)
        assert await state(store, PODS) == {PODS + "x/b": (b"2", third)}
    finally:
        await store.close()
