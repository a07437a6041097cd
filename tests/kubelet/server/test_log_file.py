"""Reading of logs in the runtime's format."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pilothouse.kit.clock import VirtualClock
from pilothouse.kubelet.server.log_file import (
    POLL_S,
    LogOptions,
    LogStream,
    fixed_stamp,
    nanoseconds,
    read,
    tail_offset,
)

LINES = (
    b"2026-01-01T00:00:00.000000001Z stdout F one\n"
    b"2026-01-01T00:00:01.5Z stderr F two\n"
    b"2026-01-01T00:00:02.000000000Z stdout P thr\n"
    b"2026-01-01T00:00:02.000000001Z stdout F ee\n"
    b"2026-01-01T02:00:03+02:00 stdout F \n"
)


def write(path: Path, data: bytes = LINES) -> Path:
    path.write_bytes(data)
    return path


async def text(path: Path, options: LogOptions) -> bytes:
    return b"".join([chunk async for chunk in read(path, options, lambda: False, VirtualClock())])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (LogOptions(), b"one\ntwo\nthree\n\n"),
        (LogOptions(stream=LogStream.STDERR), b"two\n"),
        (LogOptions(stream=LogStream.STDOUT), b"one\nthree\n\n"),
        (LogOptions(tail_lines=0), b""),
        (LogOptions(tail_lines=2), b"ee\n\n"),
        (LogOptions(tail_lines=99), b"one\ntwo\nthree\n\n"),
        (LogOptions(limit_bytes=6), b"one\ntw"),
        (LogOptions(limit_bytes=1000), b"one\ntwo\nthree\n\n"),
        (LogOptions(since_ns=nanoseconds(b"2026-01-01T00:00:01.5Z")), b"two\nthree\n\n"),
        (LogOptions(since_ns=nanoseconds(b"2026-01-01T00:00:01.500000001Z")), b"three\n\n"),
        (
            LogOptions(timestamps=True, tail_lines=3),
            b"2026-01-01T00:00:02.000000000Z three\n2026-01-01T02:00:03.000000000+02:00 \n",
        ),
    ],
)
async def test_options(tmp_path: Path, options: LogOptions, expected: bytes) -> None:
    assert await text(write(tmp_path / "0.log"), options) == expected


async def test_lines_that_are_not_of_the_format_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "0.log", b"\nnoise\n2026 stdwhat F x\n\xff\xfe \x00\n" + LINES)
    assert await text(path, LogOptions()) == b"one\ntwo\nthree\n\n"


async def test_a_line_whose_end_is_not_written_yet(tmp_path: Path) -> None:
    path = write(tmp_path / "0.log", LINES + b"2026-01-01T00:00:09Z stdout F cut o")
    assert await text(path, LogOptions(tail_lines=1)) == b"\n"
    assert (await text(path, LogOptions())).endswith(b"\n\ncut o")


async def test_an_empty_log(tmp_path: Path) -> None:
    assert await text(write(tmp_path / "0.log", b""), LogOptions(tail_lines=5)) == b""


async def test_a_log_that_is_not_there_is_told_at_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await anext(read(tmp_path / "0.log", LogOptions(), lambda: True, VirtualClock()))


@pytest.mark.parametrize("lines", [0, 1, 2, 7, 500, 4999, 5000, 9000])
def test_the_tail_is_found_from_the_end(tmp_path: Path, lines: int) -> None:
    written = [b"%d %s\n" % (number, b"x" * (number % 97)) for number in range(5000)]
    path = write(tmp_path / "0.log", b"".join(written))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        offset = tail_offset(descriptor, lines)
    finally:
        os.close(descriptor)
    assert path.read_bytes()[offset:] == b"".join(written[len(written) - lines :] if lines < 5000 else written)


@pytest.mark.parametrize(
    ("stamp", "fixed", "value"),
    [
        (b"1970-01-01T00:00:01Z", b"1970-01-01T00:00:01.000000000Z", 1_000_000_000),
        (b"1970-01-01T00:00:01.25Z", b"1970-01-01T00:00:01.250000000Z", 1_250_000_000),
        (b"1970-01-01T01:00:01.000000007+01:00", b"1970-01-01T01:00:01.000000007+01:00", 1_000_000_007),
    ],
)
def test_times(stamp: bytes, fixed: bytes, value: int) -> None:
    assert fixed_stamp(stamp) == fixed
    assert nanoseconds(stamp) == value


@pytest.mark.parametrize("stamp", [b"", b"yesterday", b"2026-13-01T00:00:00Z", b"2026-01-01T00:00:00.xZ"])
def test_what_is_no_time(stamp: bytes) -> None:
    assert nanoseconds(stamp) is None


class Follower:
    """Follows a log in the background; `running` is the container's state."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self.clock = VirtualClock()
        self.running = True
        self.text = b""
        self.task = asyncio.create_task(self._read(read(path, options, lambda: self.running, self.clock)))

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.text += chunk

    async def advance(self) -> None:
        await self.clock.advance(POLL_S)


@pytest.fixture
async def follow() -> AsyncIterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def make(path: Path, **options: int) -> Follower:
        made.append(Follower(path, LogOptions(follow=True, **options)))
        return made[-1]

    yield make
    for follower in made:
        follower.task.cancel()
    await asyncio.gather(*(follower.task for follower in made), return_exceptions=True)


def line(content: str) -> bytes:
    return f"2026-01-01T00:00:09Z stdout F {content}\n".encode()


async def test_follow_goes_on_until_the_container_has_ended(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    path = write(tmp_path / "0.log")
    follower = follow(path, tail_lines=1)
    await follower.advance()
    assert follower.text == b"\n"
    with path.open("ab") as log:
        log.write(line("more") + b"2026-01-01T00:00:09Z stdout F in tw")
        log.flush()
        await follower.advance()
        assert follower.text == b"\nmore\n"
        log.write(b"o\n")
        log.flush()
        await follower.advance()
        assert follower.text == b"\nmore\nin two\n"
        log.write(line("last"))
    follower.running = False
    await follower.advance()
    await follower.advance()
    assert follower.task.done()
    assert follower.text == b"\nmore\nin two\nlast\n"


async def test_follow_goes_on_in_the_file_that_rotation_makes(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    path = write(tmp_path / "0.log", line("a"))
    follower = follow(path)
    await follower.advance()
    with path.open("ab") as old:
        path.rename(tmp_path / "0.log.20260101-000000")
        await follower.advance()
        old.write(line("b"))
        old.flush()
        write(path, line("c"))
        await follower.advance()
        await follower.advance()
    assert follower.text == b"a\nb\nc\n"
    assert not follower.task.done()


async def test_follow_ends_at_its_limit(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    follower = follow(write(tmp_path / "0.log", line("abc") * 3), limit_bytes=6)
    await follower.advance()
    assert follower.task.done()
    assert follower.text == b"abc\nab"
