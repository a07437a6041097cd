"""How far etcd is, asked once for all who want to know at the same time.

An answer is good only for those who asked before the question was sent. So while one question is on its way, whoever comes waits for the
next, which they share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pilothouse.store.base import Revision, StoreUnavailable
from pilothouse.store.etcd.stream import Stream


class Latest:
    """Questions to etcd and the wait for the stream to come to the answer."""

    def __init__(self, ask: Callable[[], Awaitable[Revision]], stream: Stream) -> None:
        self._ask = ask
        self._stream = stream
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def reached(self) -> None:
        """Return when the stream has told everything written before this call. Raises StoreUnavailable."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._run(self._current))
            self._next.add_done_callback(_seen)
        # A caller that goes away must not take the answer from the others.
        await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait((before,))
        self._current, self._next = self._next, None
        seen = self._stream.revision
        revision = await self._ask()
        if revision < seen <= self._stream.revision:
            # A linearizable read cannot be behind what was seen, unless etcd was put back to an older state.
            self._stream.begin_again()
            raise StoreUnavailable(f"etcd was put back from revision {seen} to {revision}; reading its state anew")
        await self._stream.reach(revision)


def _seen(task: asyncio.Task[None]) -> None:
    """A failure that everybody has stopped waiting for is no news."""
    if not task.cancelled():
        task.exception()
