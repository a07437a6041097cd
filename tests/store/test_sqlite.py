"""The store in SQLite: the shared suite, and what only a file can suffer."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pilothouse.kit.clock import SystemClock, VirtualClock
from pilothouse.store.base import ABSENT, Compacted, Revision, Store, StoreUnavailable
from pilothouse.store.sqlite import SqliteStore
from tests.store.suite import PODS, LocalSuite, changes_until, keys, state

KEY = PODS + "x/a"


class TestSqliteStore(LocalSuite):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    async def store(self, clock: VirtualClock, tmp_path: Path) -> AsyncIterator[Store]:
        store = await SqliteStore.open(tmp_path / "store.db", clock)
        yield store
        await store.close()

    @pytest.fixture
    def run_with_store(self, tmp_path: Path) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
        numbers = itertools.count()

        async def run(body: Callable[[Store], Awaitable[None]]) -> None:
            store = await SqliteStore.open(tmp_path / f"store-{next(numbers)}.db", VirtualClock())
            try:
                await body(store)
            finally:
                await store.close()

        return lambda body: asyncio.run(run(body))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


async def reopened(store: SqliteStore, path: Path, clock: VirtualClock | None = None) -> SqliteStore:
    await store.close()
    return await SqliteStore.open(path, clock or VirtualClock())


async def refusal(path: Path) -> str:
    """The message with which the store refuses to open."""
    with pytest.raises(StoreUnavailable) as error:
        await SqliteStore.open(path, VirtualClock())
    return str(error.value)


# Faults


async def test_a_second_server_is_refused(path: Path) -> None:
    store = await SqliteStore.open(path, VirtualClock())
    try:
        assert f"the store {path} is in use by another server (process {os.getpid()})" in await refusal(path)
    finally:
        await store.close()
    await (await SqliteStore.open(path, VirtualClock())).close()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database " * 1000)
    assert f"the store {path} is damaged" in await refusal(path)
    assert path.read_bytes() == b"not a database " * 1000


async def test_a_damaged_file_is_refused(path: Path) -> None:
    store = await SqliteStore.open(path, VirtualClock())
    await asyncio.gather(*(store.put(f"{PODS}x/{number}", b"x" * 1000) for number in range(200)))
    await store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    assert f"the store {path} is damaged" in await refusal(path)


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    assert "is a database of another program" in await refusal(path)


async def test_a_newer_format_is_refused(path: Path) -> None:
    await (await SqliteStore.open(path, VirtualClock())).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "was written by a newer version of Pilothouse (format 99" in await refusal(path)


async def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "store.db"
    message = await refusal(path)
    assert f"the store {path} cannot be opened: " in message
    assert "give the server another data directory" in message


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("is_there", [False, True])
def test_what_may_not_be_written_is_refused(tmp_path: Path, is_there: bool) -> None:
    """A directory without permission, or a file of another user's in one that has it."""
    path = tmp_path / "store.db"
    if is_there:
        asyncio.run(written_once(path))
    os.chmod(tmp_path, 0o777 if is_there else 0o555)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.seteuid(65534)
            message = asyncio.run(refusal(path))
            status = 0 if "Permission denied. Make it and its directory writable for this user" in message else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0,), "the child saw no refusal"


async def written_once(path: Path) -> None:
    store = await SqliteStore.open(path, VirtualClock())
    await store.put(KEY, b"1")
    await store.close()
    path.with_name("store.db.lock").unlink()


async def test_a_full_disk_loses_nothing_and_writing_goes_on(path: Path) -> None:
    """The limit on pages stands in for the disk: SQLite reports the same error. The real thing is tested below."""
    store = await SqliteStore.open(path, VirtualClock())
    try:
        first = await store.put(KEY, b"1")
        connection = store._log._connection  # type: ignore[attr-defined]
        connection.execute("PRAGMA max_page_count = 10")
        answers = await asyncio.gather(
            *(store.put(f"{PODS}x/{number}", b"x" * 100_000, expect=ABSENT) for number in range(3)),
            store.put(KEY, b"2", expect=first),
            return_exceptions=True,
        )
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert f"the store {path} cannot write: the disk is full" in str(answers[0])
        assert await state(store, PODS) == {KEY: (b"1", first)}
        connection.execute("PRAGMA max_page_count = 1000000")
        second = await store.put(KEY, b"2", expect=first)
        assert second == first + 1
        store = await reopened(store, path)
        assert await state(store, PODS) == {KEY: (b"2", second)}
    finally:
        await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


async def fill(store: Store, written: dict[str, Revision]) -> None:
    """Write until the store refuses."""
    for number in itertools.count():
        written[f"{PODS}x/{number}"] = await store.put(f"{PODS}x/{number}", b"x" * 10_000)


@pytest.mark.real
async def test_a_really_full_disk(small_disk: Path) -> None:
    store = await SqliteStore.open(small_disk / "store.db", VirtualClock())
    try:
        written: dict[str, Revision] = {}
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 1_000_000)
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await fill(store, written)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.put(KEY, b"x" * 100_000)
        ballast.unlink()
        written[KEY] = await store.put(KEY, b"more")
        assert {key: revision for key, (_, revision) in (await state(store, PODS)).items()} == written
        store = await reopened(store, small_disk / "store.db")
        assert {key: revision for key, (_, revision) in (await state(store, PODS)).items()} == written
    finally:
        await store.close()


# Durability

_WRITER = """
import asyncio, sys
from pathlib import Path
from pilothouse.kit.clock import SystemClock
from pilothouse.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), SystemClock(), history_writes=50)

    async def write(writer):
        number = 0
        while True:
            key = f"/registry/core/pods/{writer}/{number % 7}"
            revision = await store.put(key, b"%d %d" % (writer, number))
            sys.stdout.write(f"{revision} {key} {number}\\n")
            sys.stdout.flush()
            number += 1

    await asyncio.gather(*(write(writer) for writer in range(8)))

asyncio.run(main())
"""


@pytest.mark.real
def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    rng = random.Random(0)
    last: dict[str, tuple[int, int]] = {}
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(rng.randrange(1, 1500))]
        finally:
            child.send_signal(signal.SIGKILL)
            rest, _ = child.communicate()
        lines += rest.splitlines(keepends=True)
        acknowledged = 0
        for line in lines:
            if line.endswith("\n"):
                revision, key, number = line.split()
                last[key] = max(last.get(key, (0, 0)), (int(revision), int(number)))
                acknowledged = max(acknowledged, int(revision))
        found, revision = asyncio.run(_read(path))
        assert revision >= acknowledged
        assert found.keys() >= last.keys()
        for key, (written, number) in last.items():
            value, present = found[key]
            assert present >= written, "an acknowledged write was lost"
            if present == written:
                assert int(value.split()[1]) == number
        last = {key: (int(present), int(value.split()[1])) for key, (value, present) in found.items()}


async def _read(path: Path) -> tuple[dict[str, tuple[bytes, Revision]], Revision]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = await SqliteStore.open(path, SystemClock())
    try:
        return await state(store, "/registry/"), await store.revision()
    finally:
        await store.close()


async def test_state_history_and_leases_survive_a_restart(path: Path) -> None:
    clock = VirtualClock()
    store = await SqliteStore.open(path, clock)
    try:
        first = await store.put(KEY, b"1", ttl_s=30)
        await store.put(PODS + "x/b", b"1", ttl_s=20)
        second = await store.put(PODS + "x/b", b"2")
        third = await store.delete(PODS + "x/b")
        store = await reopened(store, path, clock)
        assert await store.revision() == third
        assert await state(store, PODS) == {KEY: (b"1", first)}
        assert await state(store, PODS, second) == {KEY: (b"1", first), PODS + "x/b": (b"2", second)}
        changes = await changes_until(store, PODS, first, third)
        assert [change.value for change in changes] == [b"1", b"2", None]
        watch = store.watch(PODS, after=await store.revision())
        await clock.advance(31)
        assert [change.key for change in await anext(watch)] == [KEY]
        await watch.aclose()
    finally:
        await store.close()


async def test_a_compacted_store_keeps_its_revision_over_a_restart(path: Path) -> None:
    store = await SqliteStore.open(path, VirtualClock())
    try:
        await store.put(KEY, b"1")
        last = await store.delete(KEY)
        await store.compact(last)
        store = await reopened(store, path)
        assert await store.revision() == last
        with pytest.raises(Compacted):
            await store.list(PODS, at=Revision(last - 1))
        assert await store.put(KEY, b"1", expect=ABSENT) == last + 1
    finally:
        await store.close()


async def test_a_busy_event_loop_does_not_keep_writers_waiting(path: Path) -> None:
    """A loop that is never idle hardly lets another thread have the interpreter; unaided, single writes took ten seconds."""
    clock = SystemClock()
    store = await SqliteStore.open(path, clock)
    is_done = False

    async def work() -> None:
        while not is_done:
            until = clock.monotonic() + 0.0003
            while clock.monotonic() < until:
                pass
            await asyncio.sleep(0)

    working = asyncio.ensure_future(work())
    try:
        begun = clock.monotonic()
        for _ in range(50):
            await store.put(KEY, b"x")
        assert clock.monotonic() - begun < 5
    finally:
        is_done = True
        await working
        await store.close()


async def test_the_file_stays_bounded(path: Path) -> None:
    store = await SqliteStore.open(path, VirtualClock(), history_writes=500)
    try:
        sizes = []
        for _ in range(20):
            for _ in range(5):
                await asyncio.gather(*(store.put(f"{PODS}x/{number}", b"x" * 3000) for number in range(100)))
            sizes.append(path.stat().st_size)
        assert len(await keys(store, PODS)) == 100
        assert max(sizes) < 12_000_000, "10,000 writes of 3 kB, of which 600 are kept"
        assert path.with_name("store.db-wal").stat().st_size < 20_000_000
    finally:
        await store.close()
    assert not path.with_name("store.db-wal").exists()


def test_the_files_are_for_their_owner_alone(path: Path) -> None:
    async def write() -> None:
        store = await SqliteStore.open(path, VirtualClock())
        await store.put(KEY, b"secret")
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file
        await store.close()

    asyncio.run(write())
    assert path.parent.stat().st_mode & 0o077 == 0
