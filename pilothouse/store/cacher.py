"""The watch cache of one resource: every GET, LIST and WATCH is answered from it.

It holds the bytes of every object as they go over the wire, follows the store, and tells watchers and subscribers of each change in
the order of revisions, never before it is durable. With a local store a write that has returned is already here; `fresh` makes the same
hold for any store. A cacher belongs to one event loop and its reads are synchronous: what one read returns is one state.

Source: the watch semantics of KEP-2523 and KEP-3157 and `reference/using-api/api-concepts` (resource versions).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from pilothouse.api import status
from pilothouse.api.field_selector import FieldSelector
from pilothouse.api.resource import Resource
from pilothouse.api.selector import LabelSelector
from pilothouse.kit.clock import Clock, Timer
from pilothouse.kit.log import get_logger
from pilothouse.store.audience import Audience
from pilothouse.store.base import Change, Compacted, Feed, Page, Readable, Revision, prefix_of
from pilothouse.store.cached import Cached, read
from pilothouse.store.catalog import Catalog
from pilothouse.store.event import ADDED, Encoder, Event, JsonLines
from pilothouse.store.past import Past
from pilothouse.store.ring import Ring
from pilothouse.store.selection import SelectableFields, Selection
from pilothouse.store.watcher import Watcher

BOOKMARK_INTERVAL_S = 60.0
FRESH_TIMEOUT_S = 3.0
"""How long a request waits for a resourceVersion that has not been reached."""
_POLL_S = 0.05
_PAST_REVISIONS = 500
"""How far back in the store's revisions a new cacher begins."""

Subscriber = Callable[[Cached | None, Cached | None], None]
"""Takes an object before and after a change; None where it did not or does not exist."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Part of a resource in key order, as it was at `revision`."""

    items: Sequence[Cached]
    revision: Revision
    has_more: bool = False
    remaining: int | None = None
    """How many follow; None where a selector makes that unknown, as upstream leaves `remainingItemCount` out then."""

    def body(self) -> bytes:
        """The items as JSON, joined by commas: what stands between the brackets of a list."""
        return b",".join([cached.wire for cached in self.items])


@dataclass(slots=True)
class Counts:
    """Of one cacher: changes that came from the store, events that somebody watched, watchers that were too slow, initial objects."""

    received: int = 0
    dispatched: int = 0
    cut_off: int = 0
    initial: int = 0
    opened: int = 0


class Cacher:
    """See the module. Make one with `Cacher.open`."""

    def __init__(self, store: Readable, resource: Resource, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._log = get_logger("pilothouse.store.cacher").bind(resource=resource.gvr.group_resource)
        self.resource = resource
        self.prefix = prefix_of(resource.gvr)
        self.lines = JsonLines(resource.gvr)
        """The encoder of watches in plain JSON."""
        self._fields = SelectableFields(resource.selectable)
        self._objects = Catalog(self.prefix, self._fields, is_namespaced=resource.gvr.namespaced)
        self._audience = Audience(self._fields)
        self._bookmarked: dict[Watcher, None] = {}
        self._bookmark_timer: Timer | None = None
        self._subscribers: dict[Subscriber, None] = {}
        self._ring = Ring(Revision(0))
        self._applied = Revision(0)
        self._feed: Feed | None = None
        self._counts = Counts()

    @classmethod
    async def open(cls, store: Readable, resource: Resource, clock: Clock) -> Cacher:
        """A cacher that holds all objects of `resource` and follows the store. Raises StoreUnavailable.

        It begins a little in the past, where the store still knows it, so that clients of a server that has restarted can go on
        watching where they were and need not list everything again.
        """
        cacher = cls(store, resource, clock)
        start = Revision(max(await store.revision() - _PAST_REVISIONS, 0))
        while True:
            try:
                page = await store.list(cacher.prefix, at=start)
                cacher._load(page)
                cacher._feed = await store.follow(
                    cacher.prefix, cacher._apply, after=page.revision, restart=cacher._restart
                )
            except Compacted as error:
                start = error.oldest
            else:
                return cacher

    def close(self) -> None:
        """Stop following the store and end all watches. Idempotent."""
        if self._feed is not None:
            self._feed.close()
        for watcher in self._audience:
            watcher.end()
        if self._bookmark_timer is not None:
            self._bookmark_timer.cancel()
            self._bookmark_timer = None

    # State

    def watchers(self, namespace: str, name: str) -> int:
        """How many watch an object; those that select by a field's value are not counted."""
        return self._audience.size(namespace, name)

    @property
    def counts(self) -> Counts:
        """What the cacher has done since it was opened."""
        return self._counts

    @property
    def revision(self) -> Revision:
        """The revision of the state that reads return."""
        feed = self._feed
        return self._applied if feed is None else max(self._applied, feed.revision)

    @property
    def changed_at(self) -> Revision:
        """While this stays the same, so do the objects."""
        return self._applied

    def __len__(self) -> int:
        return len(self._objects)

    def fresh(self) -> Awaitable[None]:
        """Wait until reads show every write that anyone was told of before this call. Immediate with a local store."""
        assert self._feed is not None
        return self._feed.fresh()

    async def reach(self, revision: Revision) -> None:
        """Return when reads show the state of `revision` or a later one. Raises Timeout if that takes longer than 3 s."""
        if revision <= self.revision:
            return
        await self.fresh()
        deadline = self._clock.monotonic() + FRESH_TIMEOUT_S
        while revision > self.revision:
            if self._clock.monotonic() >= deadline:
                raise _too_large(revision, self.revision)
            await self._clock.sleep(_POLL_S)

    # Reads

    def get(self, namespace: str, name: str) -> Cached | None:
        """The object as it is now. `namespace` is empty for cluster-scoped resources."""
        return self._objects.get(namespace, name)

    def list(
        self,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: FieldSelector | None = None,
        after: str = "",
        limit: int = 0,
    ) -> Listing:
        """The objects as they are now, in key order; `limit` 0 means all.

        `after` is the `namespace/name` (`name` for cluster-scoped resources) that the page before ended with.
        Raises BadRequest for a field that cannot be selected by.
        """
        selection = Selection(self._fields, namespace, labels, fields)
        listing = self._page(self._objects.select(selection, after), limit, self.revision)
        if listing.has_more and selection.is_everything:
            remaining = self._objects.count_after(namespace, after) - limit
            return Listing(listing.items, listing.revision, has_more=True, remaining=remaining)
        return listing

    async def list_at(
        self,
        revision: Revision,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: FieldSelector | None = None,
        after: str = "",
        limit: int = 0,
    ) -> Listing:
        """The objects as they were at `revision`. Raises Expired if that is no longer known, Timeout if it is in the future."""
        await self.reach(revision)
        assert self._feed is not None
        if revision < self._feed.compacted:
            raise _too_old()
        if revision < self._ring.start:
            return await self._list_stored(revision, Selection(self._fields, namespace, labels, fields), after, limit)
        events = self._ring.since(revision)
        if not events:
            listing = self.list(namespace, labels=labels, fields=fields, after=after, limit=limit)
            return Listing(listing.items, revision, listing.has_more, listing.remaining)
        selection = Selection(self._fields, namespace, labels, fields)
        past = Past(self._objects, events, selection.namespace, after)
        page = self._page(filter(selection.matches, past), limit, revision)
        if not page.has_more or not selection.is_everything:
            return page
        return Listing(page.items, revision, has_more=True, remaining=len(past) - limit)

    async def _list_stored(self, revision: Revision, selection: Selection, after: str, limit: int) -> Listing:
        """From the store's own history. With selectors all objects are read, since the store cannot select."""
        prefix = f"{self.prefix}{selection.namespace}/" if selection.namespace else self.prefix
        wanted = limit if selection.is_everything else 0
        try:
            page = await self._store.list(prefix, after=self.prefix + after, limit=wanted, at=revision)
        except Compacted:
            raise _too_old() from None
        past = (self._read(entry.key, entry.value, entry.mod_revision) for entry in page.entries)
        matching = [cached for cached in past if cached is not None and selection.matches(cached)]
        if selection.is_everything:
            return Listing(matching, revision, has_more=page.remaining > 0, remaining=page.remaining or None)
        return self._page(matching, limit, revision)

    # Watches

    async def watch(
        self,
        namespace: str = "",
        *,
        after: Revision | None = None,
        labels: LabelSelector | None = None,
        fields: FieldSelector | None = None,
        send_initial_events: bool | None = None,
        bookmarks: bool = False,
        encoder: Encoder | None = None,
    ) -> Watcher:
        """Begin a watch, by upstream's rules for `resourceVersion` (`after`; None if the request has none) and `sendInitialEvents`.

        - `after` None or 0: first an ADDED for every object there is, then what happens. With `send_initial_events=False` only the
          latter.
        - `after` N: what happened after N. Raises Expired (`too old resource version: N (M)`) if that is not all known.
        - `send_initial_events=True`: waits until N is reached (Timeout), sends an ADDED for every object, then, with `bookmarks`, a
          bookmark annotated `k8s.io/initial-events-end`.

        With `bookmarks`, one is sent about every minute as well. `encoder` writes the events; plain JSON lines if None.
        The caller closes the watcher. Raises BadRequest for a field that cannot be selected by.
        """
        selection = Selection(self._fields, namespace, labels, fields)
        encoder = self.lines if encoder is None else encoder
        if send_initial_events and after:
            await self.reach(after)
        elif not after:
            await self.fresh()
        now = self.revision
        past: Iterator[bytes] = iter(())
        if send_initial_events or (send_initial_events is None and not after):
            past = self._initial(selection, encoder, now if send_initial_events and bookmarks else None)
        elif after:
            past = self._replay(after, selection, encoder)
        watcher = Watcher(selection, encoder, max(now, after or now), past, self._leave)
        self._audience.join(watcher)
        if bookmarks:
            self._bookmarked[watcher] = None
            self._keep_bookmarking()
        return watcher

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber(None, object)` for every object there is, now, then for each change, before any write of it returns.

        Returns how to unsubscribe. For consumers in the same process, such as authorizers and allocators.
        """
        self._subscribers[subscriber] = None
        for cached in list(self._objects):
            self._tell(subscriber, None, cached)

        def unsubscribe() -> None:
            self._subscribers.pop(subscriber, None)

        return unsubscribe

    def bookmark(self) -> None:
        """Send a bookmark now to all watchers that want bookmarks."""
        revision = self.revision
        for watcher in tuple(self._bookmarked):
            watcher.bookmark(revision)

    def _initial(self, selection: Selection, encoder: Encoder, bookmark: Revision | None) -> Iterator[bytes]:
        """An iterator over what is there now; encoded as it is read, from a snapshot taken at once."""
        items = list(self._objects.select(selection))

        def lines() -> Iterator[bytes]:
            for cached in items:
                yield encoder.event(ADDED, cached)
            if bookmark is not None:
                yield encoder.bookmark(bookmark, initial_events_end=True)

        return lines()

    def _replay(self, after: Revision, selection: Selection, encoder: Encoder) -> Iterator[bytes]:
        if after < self._ring.start:
            raise status.Expired(f"too old resource version: {after} ({self._ring.start})")
        events = self._ring.since(after)

        def lines() -> Iterator[bytes]:
            for event in events:
                if (type := selection.transition(event)) is not None:
                    yield event.encode(type, encoder)

        return lines()

    def _leave(self, watcher: Watcher) -> None:
        self._counts.cut_off += watcher.is_behind
        self._audience.leave(watcher)
        self._bookmarked.pop(watcher, None)

    def _keep_bookmarking(self) -> None:
        if self._bookmark_timer is None and self._bookmarked:
            self._bookmark_timer = self._clock.call_later(BOOKMARK_INTERVAL_S, self._bookmark_all)

    def _bookmark_all(self) -> None:
        self._bookmark_timer = None
        self._ring.tick(self._clock.monotonic())
        self.bookmark()
        self._keep_bookmarking()

    # Following the store

    def _read(self, key: str, value: bytes, revision: Revision) -> Cached | None:
        """The cached form of a stored value; None for one that is no object, which counts as not there."""
        namespace, name = self._objects.split(key)
        try:
            return read(key, namespace, name, value, revision)
        except ValueError:
            self._log.error("stored value is not an object", key=key, revision=revision)
            return None

    def _load(self, page: Page) -> None:
        self._objects = Catalog(self.prefix, self._fields, is_namespaced=self.resource.gvr.namespaced)
        for entry in page.entries:
            self._objects.replace(None, self._read(entry.key, entry.value, entry.mod_revision))
        self._applied = page.revision
        self._ring = Ring(page.revision)
        self._counts.initial += len(page.entries)
        self._counts.opened += 1

    def _restart(self, page: Page) -> None:
        """Go on from the present state, not knowing what led to it: watches end, their clients list again."""
        before = {cached.key: cached for cached in self._objects}
        self._load(page)
        for watcher in self._audience:
            watcher.end()
        for subscriber in tuple(self._subscribers):
            after = {cached.key: cached for cached in self._objects}
            for key, old in before.items():
                new = after.pop(key, None)
                if new is None or new.revision != old.revision:
                    self._tell(subscriber, old, new)
            for new in after.values():
                self._tell(subscriber, None, new)

    def _apply(self, changes: Sequence[Change]) -> None:
        objects = self._objects
        self._counts.received += len(changes)
        for change in changes:
            revision = change.revision
            old = objects.get(*objects.split(change.key))
            new = None if change.value is None else self._read(change.key, change.value, revision)
            self._applied = revision
            if old is None and new is None:
                continue
            objects.replace(old, new)
            event = Event(revision, old, new)
            self._ring.append(event)
            for subscriber in tuple(self._subscribers):
                self._tell(subscriber, old, new)
            if self._audience.tell(event):
                self._counts.dispatched += 1
            event.forget_lines()
        self._ring.tick(self._clock.monotonic())

    def _tell(self, subscriber: Subscriber, old: Cached | None, new: Cached | None) -> None:
        try:
            subscriber(old, new)
        except Exception:
            key = (new or old).key  # type: ignore[union-attr]
            self._log.exception("subscriber failed", key=key)

    @staticmethod
    def _page(items: Iterable[Cached], limit: int, revision: Revision) -> Listing:
        """The first `limit` of `items`, or all, and whether there are more."""
        if not limit:
            return Listing(items if isinstance(items, list) else list(items), revision)
        rest = iter(items)
        return Listing(list(islice(rest, limit)), revision, has_more=next(rest, None) is not None)


def _too_old() -> status.Expired:
    return status.Expired("The resourceVersion for the provided list is too old.")


def _too_large(revision: Revision, current: Revision) -> status.Timeout:
    cause = status.Cause("ResourceVersionTooLarge", "Too large resource version")
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    return status.Timeout(message, causes=[cause], retry_after_s=1)
