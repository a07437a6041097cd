"""A store as one version of a kind sees it whose objects a webhook converts: what a cacher of that version reads and follows.

An object is converted once when it is written, not by everyone who lists it. Changes that come close together are one question to
the webhook. A webhook that fails ends the view, and with it the watches on it: who comes back begins anew.
Source: upstream keeps a watch cache for each version, filled by the same conversion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pilothouse.api.status import StatusError
from pilothouse.apiserver.crd.translation import Converting
from pilothouse.kit.log import get_logger
from pilothouse.store.base import Change, Deliver, Entry, Feed, Page, Readable, Restart, Revision

Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Starts work that goes on beside requests."""
log = get_logger("pilothouse.apiserver.crd")


class ConvertedStore:
    """Every method may raise ConversionFailed as well."""

    def __init__(self, store: Readable, translation: Converting, spawn: Spawn) -> None:
        self._store = store
        self._translation = translation
        self._spawn = spawn
        self.failed: Callable[[], None] = lambda: None
        """Is called when the view has ended."""

    async def revision(self) -> Revision:
        return await self._store.revision()

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        return await self.page(await self._store.list(prefix, after=after, limit=limit, at=at))

    async def page(self, page: Page) -> Page:
        values = await self._translation.wires([entry.value for entry in page.entries])
        entries = [Entry(each.key, value, each.mod_revision) for each, value in zip(page.entries, values, strict=True)]
        return Page(entries, page.revision, page.remaining)

    async def changes(self, changes: Sequence[Change]) -> Sequence[Change]:
        written = [each.value for each in changes if each.value is not None]
        values = iter(await self._translation.wires(written))
        return [
            each if each.value is None else Change(each.key, each.revision, next(values), each.previous)
            for each in changes
        ]

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        feed = ConvertedFeed(self, deliver, restart)
        feed.source = await self._store.follow(prefix, feed.take, after=after, restart=feed.restart)
        self._spawn(feed.run())
        return feed


class ConvertedFeed:
    """Delivers what its source delivered, converted; `run` does the work."""

    source: Feed

    def __init__(self, store: ConvertedStore, deliver: Deliver, restart: Restart | None) -> None:
        self._store = store
        self._deliver = deliver
        self._restart = restart
        self._pending: list[Sequence[Change] | Page] = []
        self._work = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._reached = Revision(0)
        self._failure: StatusError | None = None
        self._is_closed = False

    @property
    def revision(self) -> Revision:
        return self._reached if self._pending else self.source.revision

    @property
    def compacted(self) -> Revision:
        return self.source.compacted

    async def fresh(self) -> None:
        """Raises ConversionFailed."""
        await self.source.fresh()
        if self._pending and not self._is_closed:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self._is_closed = True
        self._work.set()
        self.source.close()

    def take(self, changes: Sequence[Change]) -> None:
        if not self._pending:
            self._reached = Revision(changes[0].revision - 1)
        self._pending.append(changes)
        self._work.set()

    def restart(self, page: Page) -> None:
        self._pending.append(page)
        self._work.set()

    async def run(self) -> None:
        """Until it is closed or the webhook fails."""
        while not self._is_closed:
            if not self._pending:
                # Who came while the last changes were converted has been waiting for just these.
                _wake(self._waiting)
                self._waiting = []
                self._work.clear()
                await self._work.wait()
                continue
            taken, waiting = list(self._pending), self._waiting
            self._waiting = []
            try:
                await self._convert(taken)
                del self._pending[: len(taken)]
            except StatusError as error:
                log.warning("a watch at a version that a webhook converts to has to end", reason=error.message)
                self._failure = error
                self._is_closed = True
                self._store.failed()
            _wake(waiting)
        _wake(self._waiting)

    async def _convert(self, taken: Sequence[Sequence[Change] | Page]) -> None:
        """Deliver in order; neighbouring changes are converted together."""
        together: list[Change] = []
        for each in taken:
            if isinstance(each, Page):
                await self._tell(together)
                together = []
                page = await self._store.page(each)
                if self._restart is not None:
                    self._restart(page)
                self._reached = page.revision
            else:
                together += each
        await self._tell(together)

    async def _tell(self, changes: Sequence[Change]) -> None:
        if changes:
            self._deliver(await self._store.changes(changes))
            self._reached = changes[-1].revision


def _wake(waiting: Sequence[asyncio.Future[None]]) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(None)
