"""The watch cache of one resource: every GET, LIST and WATCH is answered from it.

It holds the bytes of every object as they go over the wire, follows the store, and tells watchers and subscribers of each change in
the order of revisions, never before it is durable. With a local store a write that has returned is already here; `fresh` makes the same
hold for any store. A cacher belongs to one event loop and its reads are synchronous: what one read returns is one state.

Source: the watch semantics of KEP-2523 and KEP-3157 and `reference/using-api/api-concepts` (resource versions).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter

from pilothouse.api import status
from pilothouse.api.resource import Resource
from pilothouse.api.selector import FieldSelector, LabelSelector
from pilothouse.kit.clock import Clock, Timer
from pilothouse.kit.log import get_logger
from pilothouse.store import cached as cached_module
from pilothouse.store.audience import Audience
from pilothouse.store.base import Change, Compacted, Feed, Revision, Store, prefix_of
from pilothouse.store.cached import Cached
from pilothouse.store.event import ADDED, Encoder, Event, JsonLines
from pilothouse.store.index import Index
from pilothouse.store.ring import Ring
from pilothouse.store.selection import SelectableFields, Selection
from pilothouse.store.shelf import Shelf
from pilothouse.store.watcher import Watcher

BOOKMARK_INTERVAL_S = 60.0
FRESH_TIMEOUT_S = 3.0
"""How long a request waits for a resourceVersion that has not been reached."""
_POLL_S = 0.05
_MAX_INDEXES = 8
_INDEX_FROM = 64
"""Fewer objects are scanned rather than indexed."""

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


class Cacher:
    """See the module. Make one with `Cacher.open`."""

    def __init__(self, store: Store, resource: Resource, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._log = get_logger("pilothouse.store.cacher").bind(resource=resource.gvr.group_resource)
        self.resource = resource
        self.prefix = prefix_of(resource.gvr)
        self.lines = JsonLines(resource.gvr)
        """The encoder of watches in plain JSON."""
        self._fields = SelectableFields(resource.selectable)
        self._shelves: dict[str, Shelf] = {}
        self._count = 0
        self._indexes: dict[tuple[str, str], Index] = {}
        self._audience = Audience(self._fields)
        self._bookmarked: dict[Watcher, None] = {}
        self._bookmark_timer: Timer | None = None
        self._subscribers: dict[Subscriber, None] = {}
        self._ring = Ring(Revision(0))
        self._applied = Revision(0)
        self._feed: Feed | None = None

    @classmethod
    async def open(cls, store: Store, resource: Resource, clock: Clock) -> Cacher:
        """A cacher that holds all objects of `resource` and follows the store. Raises StoreUnavailable."""
        cacher = cls(store, resource, clock)
        while True:
            page = await store.list(cacher.prefix)
            cacher._load([(entry.key, entry.value, entry.mod_revision) for entry in page.entries], page.revision)
            try:
                cacher._feed = await store.follow(cacher.prefix, cacher._apply, after=page.revision)
            except Compacted:
                continue
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

    @property
    def revision(self) -> Revision:
        """The revision of the state that reads return."""
        feed = self._feed
        return self._applied if feed is None else max(self._applied, feed.revision)

    def __len__(self) -> int:
        return self._count

    async def fresh(self) -> None:
        """Return when reads show every write that anyone was told of before this call. Immediate with a local store."""
        assert self._feed is not None
        await self._feed.fresh()

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
        shelf = self._shelves.get(namespace)
        return None if shelf is None else shelf.items.get(name)

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
        listing = self._page(self._select(selection, after), limit, self.revision)
        if listing.has_more and selection.is_everything:
            remaining = self._count_after(namespace, after) - limit
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
            raise _too_old(revision)
        if revision < self._ring.start:
            return await self._list_stored(revision, Selection(self._fields, namespace, labels, fields), after, limit)
        events = self._ring.since(revision)
        if not events:
            listing = self.list(namespace, labels=labels, fields=fields, after=after, limit=limit)
            return Listing(listing.items, revision, listing.has_more, listing.remaining)
        selection = Selection(self._fields, namespace, labels, fields)
        state = {cached.key: cached for cached in self._all(after)}
        start = self.prefix + after
        for event in reversed(events):
            key = event.cached.key
            if event.old is None:
                state.pop(key, None)
            elif key > start:
                state[key] = event.old
        past = [cached for cached in sorted(state.values(), key=_key) if selection.matches(cached)]
        return self._past_page(past, limit, revision, selection)

    async def _list_stored(self, revision: Revision, selection: Selection, after: str, limit: int) -> Listing:
        try:
            page = await self._store.list(self.prefix, after=self.prefix + after, at=revision)
        except Compacted:
            raise _too_old(revision) from None
        past = (self._read(entry.key, entry.value, entry.mod_revision) for entry in page.entries)
        matching = [cached for cached in past if selection.matches(cached)]
        return self._past_page(matching, limit, revision, selection)

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
        for cached in self._all(""):
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
        items = list(self._select(selection))

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
        self._audience.leave(watcher)
        self._bookmarked.pop(watcher, None)

    def _keep_bookmarking(self) -> None:
        if self._bookmark_timer is None and self._bookmarked:
            self._bookmark_timer = self._clock.call_later(BOOKMARK_INTERVAL_S, self._bookmark_all)

    def _bookmark_all(self) -> None:
        self._bookmark_timer = None
        self.bookmark()
        self._keep_bookmarking()

    # Following the store

    def _read(self, key: str, value: bytes, revision: Revision) -> Cached:
        namespace, name = self._split(key)
        return cached_module.read(key, namespace, name, value, revision)

    def _split(self, key: str) -> tuple[str, str]:
        rest = key[len(self.prefix) :]
        if not self.resource.gvr.namespaced:
            return "", rest
        namespace, _, name = rest.partition("/")
        return namespace, name

    def _load(self, entries: Iterable[tuple[str, bytes, Revision]], revision: Revision) -> None:
        self._shelves = {}
        self._count = 0
        for key, value, mod_revision in entries:
            cached = self._read(key, value, mod_revision)
            self._put(cached)
        self._applied = revision
        self._ring = Ring(revision)

    def _put(self, cached: Cached) -> None:
        shelf = self._shelves.get(cached.namespace)
        if shelf is None:
            shelf = self._shelves[cached.namespace] = Shelf()
        shelf.put(cached)
        self._count += 1

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            namespace, name = self._split(change.key)
            old = self.get(namespace, name)
            if change.value is None:
                if old is None:
                    continue
                new = None
                self._remove(old)
            else:
                new = cached_module.read(change.key, namespace, name, change.value, change.revision)
                if old is None:
                    self._put(new)
                else:
                    self._shelves[namespace].put(new)
            self._applied = change.revision
            event = Event(change.revision, old, new)
            self._ring.append(event)
            for index in self._indexes.values():
                index.replace(old, new)
            for subscriber in tuple(self._subscribers):
                self._tell(subscriber, old, new)
            self._audience.tell(event)
            event.forget_lines()

    def _remove(self, cached: Cached) -> None:
        shelf = self._shelves[cached.namespace]
        shelf.remove(cached.name)
        if not shelf.items:
            del self._shelves[cached.namespace]
        self._count -= 1

    def _tell(self, subscriber: Subscriber, old: Cached | None, new: Cached | None) -> None:
        try:
            subscriber(old, new)
        except Exception:
            key = (new or old).key  # type: ignore[union-attr]
            self._log.exception("subscriber failed", key=key)

    # Selecting

    def _all(self, after: str) -> Iterator[Cached]:
        """Everything in key order, from the first `namespace/name` greater than `after`."""
        return chain.from_iterable(shelf.ordered(name_after) for shelf, name_after in self._shelves_after(after))

    def _shelves_after(self, after: str) -> Iterator[tuple[Shelf, str]]:
        """The shelves in order that hold anything after `after`, and after which name in each."""
        for namespace in sorted(self._shelves, key=_with_slash):
            name_after = self._name_after(namespace, after)
            if name_after is not None:
                yield self._shelves[namespace], name_after

    def _count_after(self, namespace: str, after: str) -> int:
        if namespace:
            name_after = self._name_after(namespace, after)
            return 0 if name_after is None else self._shelves[namespace].count(name_after)
        return sum(shelf.count(name_after) for shelf, name_after in self._shelves_after(after))

    def _name_after(self, namespace: str, after: str) -> str | None:
        """`after` as a name in `namespace`: empty if all of it comes after, None if nothing does."""
        if not self.resource.gvr.namespaced or not after:
            return after
        own = f"{namespace}/"
        if after.startswith(own):
            return after[len(own) :]
        return "" if own > after else None

    def _select(self, selection: Selection, after: str = "") -> Iterable[Cached]:
        """What is selected, in key order, from the first `namespace/name` greater than `after`."""
        candidates = self._named(selection) if selection.name else self._indexed(selection)
        if candidates is not None:
            start = self.prefix + after
            found = [cached for cached in candidates if cached.key > start and selection.matches(cached)]
            found.sort(key=_key)
            return found
        items = self._in_namespace(selection.namespace, after) if selection.namespace else self._all(after)
        return items if selection.is_everything else filter(selection.matches, items)

    def _in_namespace(self, namespace: str, after: str) -> Iterator[Cached]:
        shelf = self._shelves.get(namespace)
        name_after = self._name_after(namespace, after)
        return iter(()) if shelf is None or name_after is None else shelf.ordered(name_after)

    def _named(self, selection: Selection) -> Iterable[Cached]:
        namespaces = (selection.namespace,) if selection.namespace else tuple(self._shelves)
        found = (self.get(namespace, selection.name) for namespace in namespaces)
        return (cached for cached in found if cached is not None)

    @staticmethod
    def _page(items: Iterable[Cached], limit: int, revision: Revision) -> Listing:
        """The first `limit` of `items`, or all, and whether there are more."""
        if not limit:
            return Listing(items if isinstance(items, list) else list(items), revision)
        rest = iter(items)
        return Listing(list(islice(rest, limit)), revision, has_more=next(rest, None) is not None)

    @staticmethod
    def _past_page(items: Sequence[Cached], limit: int, revision: Revision, selection: Selection) -> Listing:
        if not limit or len(items) <= limit:
            return Listing(items, revision)
        remaining = len(items) - limit if selection.is_everything else None
        return Listing(items[:limit], revision, has_more=True, remaining=remaining)

    def _indexed(self, selection: Selection) -> Iterable[Cached] | None:
        """The objects that one exact requirement of the selection leaves, by an index that is made when it is first wanted."""
        if self._count < _INDEX_FROM:
            return None
        if selection.trigger is not None:
            position, value = selection.trigger
            return (
                self._index(("field", str(position)), lambda cached: self._fields.values(cached)[position])
                .get(value)
                .values()
            )
        if selection.labels is not None:
            for requirement in selection.labels.requirements:
                wanted = selection.labels.exact_value(requirement.key)
                if wanted is not None:
                    return self._index(("label", requirement.key), _label_reader(requirement.key)).get(wanted).values()
        return None

    def _index(self, name: tuple[str, str], extract: Callable[[Cached], str | None]) -> Index:
        index = self._indexes.pop(name, None)
        if index is None:
            if len(self._indexes) >= _MAX_INDEXES:
                del self._indexes[next(iter(self._indexes))]
            index = Index(extract, self._all(""))
        self._indexes[name] = index
        return index


class Cachers:
    """The cachers of a store, each made when its resource is first used and kept from then on."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock
        self._cachers: dict[str, Cacher] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def of(self, resource: Resource) -> Cacher:
        """The cacher of `resource`. Raises StoreUnavailable."""
        prefix = prefix_of(resource.gvr)
        cacher = self._cachers.get(prefix)
        if cacher is not None:
            return cacher
        async with self._opening.setdefault(prefix, asyncio.Lock()):
            cacher = self._cachers.get(prefix)
            if cacher is None:
                cacher = self._cachers[prefix] = await Cacher.open(self.store, resource, self._clock)
            return cacher

    def drop(self, resource: Resource) -> None:
        """Forget a resource that is no longer served, and end its watches."""
        cacher = self._cachers.pop(prefix_of(resource.gvr), None)
        if cacher is not None:
            cacher.close()

    def close(self) -> None:
        """End all watches."""
        for cacher in self._cachers.values():
            cacher.close()
        self._cachers.clear()


_key = attrgetter("key")


def _label_reader(label: str) -> Callable[[Cached], str | None]:
    return lambda cached: cached.labels.get(label)


def _with_slash(namespace: str) -> str:
    return namespace + "/"


def _too_old(revision: Revision) -> status.Expired:
    return status.Expired(f"too old resource version: {revision}")


def _too_large(revision: Revision, current: Revision) -> status.Timeout:
    cause = status.Cause("ResourceVersionTooLarge", "Too large resource version")
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    return status.Timeout(message, causes=[cause], retry_after_s=1)
