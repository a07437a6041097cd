"""A local copy of a collection that follows the server: list, then watch from the list's revision.

The copy changes only through the server's events, in their order. Handlers are called synchronously with `(old, new)` after the copy
and its indexes have changed: `(None, new)` for what appears, `(old, new)` for what changes, `(old, None)` for what goes. After a gap
(410) the collection is listed again and handlers see the difference. Objects in the copy are shared: nobody may change them.
Source: client-go `tools/cache` (reflector, shared informer).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, key_of
from pilothouse.client.client import Client
from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger

Indexer = Callable[[Object], Iterable[str]]
Handler = Callable[[Object | None, Object | None], None]
Keep = Callable[[Object], Object]

RETRY = BackoffPolicy(base_s=0.2, max_s=30.0, jitter=1.0)
MIN_WATCH_S = 300.0
SHORTEST_USEFUL_WATCH_S = 1.0

log = get_logger("pilothouse.client.informer")


def without_managed_fields(obj: Object) -> Object:
    """Drop `metadata.managedFields`, which is often half of an object and of use to the server alone."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Outage:
    """Whether the server can be reached, as all informers of a factory find it: said once, and over for all as soon as for one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_on = False

    def begin(self, reason: str) -> None:
        if not self._is_on:
            self._is_on = True
            log.warning("informers wait for the server", reason=reason)

    def end(self) -> None:
        if self._is_on:
            self._is_on = False
            log.info("the server is back")
            for waiter in self._waiting:
                _wake(waiter)

    async def wait(self, seconds: float) -> None:
        """Return after `seconds`, or when the outage ends."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(seconds, lambda: _wake(waiter))
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Informer:
    """One collection's copy. Built by InformerFactory, which shares it among all who ask for the same."""

    def __init__(
        self,
        client: Client,
        gvr: GVR,
        clock: Clock,
        rng: random.Random,
        outage: Outage,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        keep: Keep = without_managed_fields,
    ) -> None:
        self.gvr = gvr
        self.synced = asyncio.Event()
        self._client = client
        self._clock = clock
        self._rng = rng
        self._outage = outage
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._metadata_only = metadata_only
        self._keep = keep
        self._objects: dict[str, Object] = {}
        self._indexers: dict[str, Indexer] = {}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {}
        self._handlers: list[Handler] = []
        self._revision: str | None = None

    # Reading

    def get(self, key: str) -> Object | None:
        """The object with `key` (`namespace/name` or `name`)."""
        return self._objects.get(key)

    def list(self) -> Collection[Object]:
        """All objects; a live view that must not be kept across an await."""
        return self._objects.values()

    def by_index(self, name: str, value: str) -> Sequence[Object]:
        """The objects for which the indexer `name` gave `value`."""
        found = self._indexes[name].get(value)
        return list(found.values()) if found else ()

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def revision(self) -> str:
        """The revision that the copy has reached; empty before the first list."""
        return self._revision or ""

    def add_indexers(self, indexers: Mapping[str, Indexer]) -> None:
        """Index by more values. A name that is there already keeps its indexer."""
        for name, indexer in indexers.items():
            if name in self._indexers:
                continue
            self._indexers[name] = indexer
            self._indexes[name] = {}
            for key, obj in self._objects.items():
                self._insert(name, indexer, key, obj)

    def subscribe(self, handler: Handler) -> Callable[[], None]:
        """Call `handler` for everything that is there now and for every change from now on, until the returned call."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            self._call(handler, None, obj)

        def unsubscribe() -> None:
            self._handlers.remove(handler)

        return unsubscribe

    # Following

    async def run(self) -> None:
        """Follow the server without end. Failures are logged and tried again with backoff."""
        backoff = Backoff(RETRY, self._rng)
        relist_from = "0"
        while True:
            try:
                if self._revision is None:
                    await self._list(relist_from)
                if await self._watch():
                    backoff.reset()
                    continue
                reason = "the watch ended at once"
            except (status.Expired, status.Gone):
                # A cache may still answer "0" with what was too old to watch from; only the newest state helps.
                self._revision, relist_from = None, ""
                log.info("relisting: the revision is no longer kept", resource=self.gvr.group_resource)
                if not backoff.failures:
                    backoff.failures = 1
                    continue
                reason = "the revision is no longer kept"
            except status.ServiceUnavailable as error:
                self._outage.begin(error.message)
                await self._outage.wait(backoff.next())
                continue
            except (status.StatusError, ValueError) as error:
                reason = str(error)
            delay_s = backoff.next()
            if delay_s > 2:
                log.warning(
                    "cannot follow", resource=self.gvr.group_resource, reason=reason, retry_in_s=round(delay_s, 1)
                )
            await self._clock.sleep(delay_s)

    async def _list(self, resource_version: str) -> None:
        listing = await self._client.list(
            self.gvr,
            self._namespace,
            resource_version=resource_version,
            metadata_only=self._metadata_only,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        self._outage.end()
        items = {key_of(item): item for item in listing.items}
        for key in [key for key in self._objects if key not in items]:
            self._remove(key)
        for key, item in items.items():
            known = self._objects.get(key)
            if known is None or known["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
                self._put(key, item)
        self._revision = listing.resource_version
        self.synced.set()

    async def _watch(self) -> bool:
        """Follow one watch to its end; whether it was of use."""
        started = self._clock.monotonic()
        useful = False
        timeout_s = int(MIN_WATCH_S * (1 + self._rng.random()))
        watch = self._client.watch(
            self.gvr,
            self._namespace,
            resource_version=self._revision or "",
            timeout_s=timeout_s,
            metadata_only=self._metadata_only,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with watch as events:
            self._outage.end()
            async for event in events:
                obj = event.obj
                if event.type == "DELETED":
                    self._remove(key_of(obj), obj)
                elif event.type != "BOOKMARK":
                    self._put(key_of(obj), obj)
                self._revision = obj["metadata"]["resourceVersion"]
                useful = True
        return useful or self._clock.monotonic() - started >= SHORTEST_USEFUL_WATCH_S

    # Changing the copy

    def _put(self, key: str, obj: Object) -> None:
        obj = self._keep(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        for name, indexer in self._indexers.items():
            if old is not None:
                self._delete(name, indexer, key, old)
            self._insert(name, indexer, key, obj)
        if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            # Deleted and created again while nobody looked: two objects, so handlers hear of both.
            self._announce(old, None)
            old = None
        self._announce(old, obj)

    def _remove(self, key: str, last: Object | None = None) -> None:
        """`last` is the object's final state, if the server told it."""
        old = self._objects.pop(key, None)
        if old is None:
            return
        for name, indexer in self._indexers.items():
            self._delete(name, indexer, key, old)
        self._announce(self._keep(last) if last is not None else old, None)

    def _insert(self, name: str, indexer: Indexer, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in indexer(obj):
            index.setdefault(value, {})[key] = obj

    def _delete(self, name: str, indexer: Indexer, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in indexer(obj):
            if (keys := index.get(value)) is not None:
                keys.pop(key, None)
                if not keys:
                    del index[value]

    def _announce(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            self._call(handler, old, new)

    def _call(self, handler: Handler, old: Object | None, new: Object | None) -> None:
        try:
            handler(old, new)
        except Exception:
            seen: Any = new if new is not None else old
            log.exception("a handler failed", resource=self.gvr.group_resource, key=key_of(seen))


class InformerFactory:
    """The informers of a process: one for each collection, whoever asks."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random | None = None) -> None:
        self.client = client
        self.clock = clock
        self._rng = rng or random.Random()
        self._outage = Outage(clock)
        self._informers: dict[tuple[GVR, str, str, str, bool, Keep], Informer] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[Informer, asyncio.Task[None]] = {}

    def of(
        self,
        gvr: GVR,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexers: Mapping[str, Indexer] | None = None,
        keep: Keep = without_managed_fields,
    ) -> Informer:
        """The informer for a collection. It runs with the factory, also if it is first asked for after `run` began.

        `keep` reduces an object to what is worth its memory. `metadata_only` follows PartialObjectMetadata.
        """
        identity = (gvr, namespace, label_selector, field_selector, metadata_only, keep)
        informer = self._informers.get(identity)
        if informer is None:
            informer = Informer(
                self.client,
                gvr,
                self.clock,
                self._rng,
                self._outage,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                metadata_only=metadata_only,
                keep=keep,
            )
            self._informers[identity] = informer
            self._start(informer)
        if indexers:
            informer.add_indexers(indexers)
        return informer

    def found(self, gvr: GVR) -> Informer | None:
        """The informer for the whole collection with whole objects, if somebody already has one."""
        return self._informers.get((gvr, "", "", "", False, without_managed_fields))

    async def run(self) -> None:
        """Run all informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in self._informers.values():
                    self._start(informer)
                await asyncio.Event().wait()
            finally:
                self._group = None

    def drop(self, informer: Informer) -> None:
        """Stop an informer that nobody needs any more; its collection may no longer exist."""
        for identity, known in list(self._informers.items()):
            if known is informer:
                del self._informers[identity]
        if (task := self._tasks.pop(informer, None)) is not None:
            task.cancel()

    async def synced(self) -> None:
        """Return when every informer asked for so far has its first list."""
        for informer in list(self._informers.values()):
            await informer.synced.wait()

    def _start(self, informer: Informer) -> None:
        if self._group is not None:
            task = self._group.create_task(informer.run(), name=f"informer {informer.gvr.group_resource}")
            self._tasks[informer] = task
