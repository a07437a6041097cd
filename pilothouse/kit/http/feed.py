"""Bodies that have something to send now and then, for hours and to many clients at once: watches.

A feed is asked for what it has; no task waits for it. Feeds that have something are served together, in rounds: a round follows the
turn of the event loop in which something came, but leaves requests at least as much time as the round before it took. With many
clients, what comes meanwhile goes out together, so that a burst costs each of them few writes.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from pilothouse.kit.clock import Clock

LONGEST_REST_S = 0.01


class Feed(ABC):
    """One body. It is also an async iterator, for those who have no connection of their own."""

    @abstractmethod
    def take(self) -> bytes | None:
        """What is at hand, without waiting: empty if there is nothing now, None at the end."""

    @abstractmethod
    def when_more(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, as soon as `take` would give something or the end; at once if it does now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the feed stands for. Idempotent."""

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> bytes:
        while not (data := self.take()):
            if data is None:
                raise StopAsyncIteration
            more: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.when_more(lambda more=more: more.done() or more.set_result(None))  # type: ignore[misc]
            await more
        return data

    async def aclose(self) -> None:
        self.close()


class Writable(Protocol):
    """What a feed is written to."""

    def write(self, data: bytes) -> None: ...


class Rounds:
    """Serves feeds that have something. One for all connections of a server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[FeedWriter] = []
        self._is_set = False
        self._rest_until = 0.0

    def add(self, writer: FeedWriter) -> None:
        """Serve `writer` in the next round."""
        self._due.append(writer)
        if not self._is_set:
            self._is_set = True
            rest_s = self._rest_until - self._clock.monotonic()
            if rest_s > 0:
                self._clock.call_later(rest_s, self._serve)
            else:
                asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        began = self._clock.monotonic()
        due, self._due = self._due, []
        self._is_set = False
        for writer in due:
            writer.send()
        ended = self._clock.monotonic()
        self._rest_until = ended + min(ended - began, LONGEST_REST_S)


class FeedWriter:
    """Writes one feed to one connection as it comes.

    `closed` is called when nothing more will be sent; `finished` after that, if the body has been sent to its end.
    """

    __slots__ = ("_closed", "_feed", "_finished", "_is_chunked", "_is_over", "_is_paused", "_rounds", "_transport")

    def __init__(
        self,
        feed: Feed,
        transport: Writable,
        rounds: Rounds,
        *,
        closed: Callable[[], None],
        finished: Callable[[], None],
        is_chunked: bool,
    ) -> None:
        self._feed = feed
        self._transport = transport
        self._rounds = rounds
        self._closed = closed
        self._finished = finished
        self._is_chunked = is_chunked
        self._is_over = False
        self._is_paused = False

    def wake(self) -> None:
        self._rounds.add(self)

    def pause(self) -> None:
        """The client does not read what was written to it: what comes is kept by the feed."""
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._rounds.add(self)

    def send(self) -> None:
        if not self._may_write():
            return
        data = self._feed.take()
        if data is None:
            self.end()
            return
        if data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
            if not self._may_write():
                return
        self._feed.when_more(self.wake)

    def _may_write(self) -> bool:
        return not (self._is_over or self._is_paused)

    def end(self) -> None:
        """End the body properly."""
        if not self._is_over:
            self.drop()
            if self._is_chunked:
                self._transport.write(b"0\r\n\r\n")
            self._finished()

    def drop(self) -> None:
        """The connection is gone. Idempotent."""
        if not self._is_over:
            self._is_over = True
            self._feed.close()
            self._closed()
