"""Who follows a store in this process, and how changes reach them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

from pilothouse.kit.log import get_logger
from pilothouse.store.base import Change, Deliver, Page, Revision

_log = get_logger("pilothouse.store.feed")


class Head(Protocol):
    """How far a store has come, as its followers know it."""

    @property
    def revision(self) -> Revision: ...

    @property
    def compacted(self) -> Revision: ...


class LocalFeed:
    """One follower of a local store."""

    def __init__(self, prefix: str, deliver: Deliver, feeds: Feeds, head: Head) -> None:
        self.prefix = prefix
        self._deliver = deliver
        self._feeds = feeds
        self._head = head
        self._held: list[Change] | None = []
        """Changes that come while the follower is still being told of the past."""

    @property
    def revision(self) -> Revision:
        return self._head.revision

    @property
    def compacted(self) -> Revision:
        return self._head.compacted

    async def fresh(self) -> None:
        """Nothing to wait for: a local store tells its followers before it answers the writer."""

    def close(self) -> None:
        self._feeds.remove(self)

    def tell(self, changes: Sequence[Change]) -> None:
        if self._held is not None:
            self._held.extend(changes)
        else:
            self._deliver_all(changes)

    def start(self, past: Sequence[Change]) -> None:
        """Deliver the past, then what came meanwhile, and from now on everything at once."""
        held, self._held = self._held or [], None
        if past or held:
            self._deliver_all([*past, *held])

    def _deliver_all(self, changes: Sequence[Change]) -> None:
        """A follower that fails must not keep the writers and the other followers from going on."""
        try:
            self._deliver(changes)
        except Exception:
            _log.exception("follower failed", prefix=self.prefix, revision=changes[-1].revision)


class Feeds:
    """All followers of a store, found by the resource that a change belongs to."""

    def __init__(self) -> None:
        self._by_resource: dict[str, dict[LocalFeed, None]] = {}
        self._wide: dict[LocalFeed, None] = {}
        """Those that follow more, or less, than one resource."""

    def __iter__(self) -> Iterator[LocalFeed]:
        return iter([*(feed for group in self._by_resource.values() for feed in group), *self._wide])

    def add(self, feed: LocalFeed) -> None:
        self._group(feed.prefix)[feed] = None

    def remove(self, feed: LocalFeed) -> None:
        """Idempotent."""
        self._group(feed.prefix).pop(feed, None)

    def tell(self, changes: Sequence[Change]) -> None:
        """Tell everyone what concerns them."""
        by_resource: dict[str, list[Change]] = {}
        for change in changes:
            by_resource.setdefault(resource_prefix(change.key), []).append(change)
        for prefix, some in by_resource.items():
            for feed in tuple(self._by_resource.get(prefix, ())):
                feed.tell(some)
        for feed in tuple(self._wide):
            if mine := [change for change in changes if change.key.startswith(feed.prefix)]:
                feed.tell(mine)

    def _group(self, prefix: str) -> dict[LocalFeed, None]:
        return self._by_resource.setdefault(prefix, {}) if resource_prefix(prefix) == prefix else self._wide


class Mailbox:
    """Changes on their way to one reader. When more than `capacity` wait, the rest is dropped and the reader told."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changes: list[Change] = []
        self._has_lost = False
        self._arrived: asyncio.Future[None] | None = None

    def put(self, changes: Sequence[Change]) -> None:
        if self._has_lost or len(self._changes) + len(changes) > max(self._capacity, len(changes)):
            self._has_lost = True
        else:
            self._changes.extend(changes)
        self._wake()

    def lose(self, page: Page) -> None:
        """What comes next is not to be had: the reader is told when it has taken what there is. A `Restart`."""
        self._has_lost = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def take(self) -> Sequence[Change] | None:
        """The changes at hand, at least one; waits for them. None once changes were lost and those before are taken."""
        while not self._changes:
            if self._has_lost:
                return None
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        changes, self._changes = self._changes, []
        return changes


def resource_prefix(key: str) -> str:
    """`/registry/core/pods/` of `/registry/core/pods/default/web`; empty for a key without a resource."""
    parts = key.split("/", 4)
    return f"/{parts[1]}/{parts[2]}/{parts[3]}/" if len(parts) == 5 else ""
